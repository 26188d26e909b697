// Tables that mean nothing (P4_16 §14.2).

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    action set(bit<8> value) { meta.class = value; }
    action copy(in bit<8> from, bit<8> value) { meta.class = from + value; }
    table two_prefixes {
        key = { hdr.ipv4.source : lpm; hdr.ipv4.destination : lpm; }
        actions = { set; }
    }
    table entries_of_others {
        key = { hdr.ipv4.ttl : exact; hdr.ipv4.dscp : exact; }
        actions = { set; }
        const entries = {
            1 : set(1);
            (1, 2) : NoAction();
            (1, 2) : set();
            (256, 2) : set(1);
            (1 &&& 1, 2) : set(1);
            (3, 3) : set(1);
            (3, 3) : set(2);
        }
    }
    table without_binding {
        key = { hdr.ipv4.ttl : exact; }
        actions = { copy; }
        default_action = set(1);
        size = meta.class;
    }
    apply {
        two_prefixes.apply();
        entries_of_others.apply();
        without_binding.apply();
        without_binding.apply();
        bit<8> x = without_binding.apply().hit ? 8w1 : 2;
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
