// Types that the language has and the subset has not.

header_union address_u {
    ipv4_h v4;
    ipv6_h v6;
}

header options_h {
    varbit<320> options;
    int<8>      offset;
    bit<WIDTH>  value;
}

struct headers_t {
    vlan_h[2] vlan;
    list<bit<8>> numbers;
}

enum bit<8> kind_t { A = 1, B }
enum plain_t { A = 1, B }
enum empty_t { }

bit<8> twice(in bit<8> x) {
    return x + x;
}

bit<8> global;

value_set<bit<16>>(4) ports;

extern Odd {
    Odd();
    abstract void each(in bit<8> x);
    void fine();
}

const bit<8> too_large = 8w256;
const bit<8> negative = 8s1;
