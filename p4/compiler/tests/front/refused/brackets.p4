// A bracket is forgotten.

control Main(inout headers_t hdr) {
    apply {
        if (hdr.ipv4.isValid( { }
    }
}

struct open_t {
    bit<8> x;
