// Values of the wrong type or width (P4_16 §8).

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    bit<8> narrow;
    bit<16> wide;
    bit<129> too_wide;
    apply {
        narrow = wide;
        narrow = narrow + wide;
        narrow = 256;
        narrow = meta.allowed;
        if (narrow) { }
        wide = narrow[8:1];
        wide = narrow[1:4];
        narrow = hdr.ipv4;
        meta.allowed = narrow & narrow;
        istd.input_port = (PortId_t)1;
        send_to_port(1);
        narrow = narrow / 2;
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
