// A range key wider than a word.

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    bit<65> wide = (bit<65>)hdr.ipv4.ttl;
    action pass() {}
    table t {
        key = { wide : range; }
        actions = { pass; }
        default_action = pass();
    }
    apply { t.apply(); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
