// Names that are not declared, or not what they are used as.

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    action set(bit<8> value) { meta.class = valeu; }
    bit<8> MainParser;
    unknown_t x;
    table t {
        key = { hdr.ipv4.tll : exact; hdr.ipv4.ttl : excat; }
        actions = { set; forget; }
    }
    apply {
        hdr.ipv6.ttl = 1;
        t.aply();
        meta.class = set;
        drop_packet(1);
        nothing();
        bit<8> t = 1;
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
