// What parsers have not.

parser Inner(packet_in packet, out headers_t hdr) {
    state start { transition accept; }
}

parser Outer(packet_in packet, out headers_t hdr) {
    Inner() inner;
    value_set<bit<16>>(4) ports;
    table t { actions = { } }
    bit<8> x;
    state start {
        if (x == 1) { return; }
        switch (x) { 1: { } }
        exit;
        for (bit<8> i = 0; i < 4; i = i + 1) { x = i; }
        transition select(x, 8w1) {
            (1, 2): next
            (1 .. 2, 3 &&& 1): next;
            4: if;
            default: accept;
        }
    }
    bit<8> late;
    state next {
        transition accept;
        x = 1;
    }
}
