// Operators, casts, slices and constants (P4_16 §8).

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    const bit<8> LOW = 8w0x0F;
    bit<8> value = 3;
    bit<16> wide;
    apply {
        wide = value ++ LOW;
        wide[15:8] = wide[7:0] & ~LOW;
        value = (bit<8>)(wide >> 4) ^ (value << 2) | 8w1;
        value = value * 3 - 1 + -value;
        meta.allowed = value > 3 && value <= 0x7F || !(wide == 5) && (bool)value[0:0];
        meta.class = meta.allowed ? value |+| 1 : value |-| 1;
        hdr.ethernet.source = hdr.ethernet.source[23:0] ++ hdr.ethernet.source[47:24];
        hdr.ethernet = { 1, 2, 0x0800 };
        hdr.ipv4.setInvalid();
        {
            bit<8> inner = 7;
            meta.class = meta.class + inner;
        }
        switch (meta.class) {
            1:
            2: { meta.tenant = 1; }
            default: { meta.tenant = 2; }
        }
        send_to_port(istd.input_port);
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
