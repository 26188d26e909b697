// A program without a package, and blocks that do not fit one (P4_16 §17).

#include "../parts/frame.p4"

control MainControl(inout headers_t hdr, inout bit<8> meta, in pna_main_input_metadata_t istd) {
    apply { }
}

PNA_NIC(MainParser(), MainDeparser(), MainControl()) main;
