// Mistakes in a control, several of them told at once.

control Ingress<T>(inout headers_t hdr, in header meta) {
    action first(bit<8> x) { }
}

control Main(inout headers_t hdr) {
    Counter<bit<32>, bit<8>>(16, Kind.PACKETS) counter = { };
    action set(bit<8> ttl) {
        hdr.ipv4.ttl = ttl
        hdr.ipv4.ttl += 1;
        hdr.ipv4.ttl >>= 1;
        hdr.ipv4.ttl == 1;
        hdr.ipv4.ttl;
        1 = hdr.ipv4.ttl;
        f(x) = 2;
        bit<8> a, b;
        Counter(1) local;
        @name("x") exit;
        this.x();
        set(1,);
        x = {#};
        x = { a = 1, ... };
        x = bit<8>(y);
        break;
    }
    table none {
        key = { hdr.ipv4.ttl : exact, }
        size = 4;
        size = 8;
    }
    table second {
        const key = { }
        actions = { set, drop; };
        entries = {
            priority = P: 1 : set(1);
            const 2 : set(2)
            (3, _) : set(3);
            4 set(4);
        }
    }
    if (hdr.ipv4.isValid()) { }
    state start { }
    apply {
        if (x { }) { } else { y = 1; }
        action late() { }
    }
}
