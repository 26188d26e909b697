// Counters, meters, registers, hashes, checksums and digests (PNA 0.7 §7).

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    Counter<bit<64>, bit<16>>(4096, PNA_CounterType_t.BYTES) tenants;
    Meter<bit<16>>(n_meters = 4096, type = PNA_MeterType_t.BYTES) limits;
    Register<bit<32>, bit<16>>(16) last;
    Hash<bit<16>>(PNA_HashAlgorithm_t.CRC32) hash;
    InternetChecksum() checksum;
    Digest<metadata_t>() seen;
    apply {
        if (hdr.ipv4.isValid()) {
            tenants.count(meta.tenant);
            if (limits.execute(meta.tenant) == PNA_MeterColor_t.RED) {
                drop_packet();
            } else {
                send_to_port((PortId_t)(bit<32>)hash.get_hash({ hdr.ipv4.source, hdr.ipv4.destination }));
            }
            last.write(meta.tenant, last.read(meta.tenant) + 1);
            hdr.ipv4.ttl = hdr.ipv4.ttl |-| 1;
            checksum.clear();
            checksum.add({
                hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp, hdr.ipv4.ecn, hdr.ipv4.total_length,
                hdr.ipv4.identification, hdr.ipv4.flags, hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol,
                hdr.ipv4.source, hdr.ipv4.destination });
            hdr.ipv4.checksum = checksum.get();
            seen.pack(meta);
        }
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
