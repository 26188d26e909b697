// The Portable NIC Architecture in its three-block form: parser, control, deparser.
// Declarations after PNA 0.7; the externs' meaning is that of PSA, to which PNA 0.7 §7 defers. Left out is
// what this target does not do: mirroring, action profiles and selectors, entries added by the data plane, Random.

#ifndef GANTRY_PNA_P4
#define GANTRY_PNA_P4

#include <core.p4>

// ---- Types whose width is the target's choice: PNA 0.7 §4.1 ----

// Each …Uint_t is plain bits for arithmetic; the type of the same name without it must be cast to and from.
typedef bit<32> PortIdUint_t;
typedef bit<8>  ClassOfServiceUint_t;
typedef bit<16> PacketLengthUint_t;
typedef bit<64> TimestampUint_t;
typedef bit<32> FlowIdUint_t;
typedef bit<8>  ExpireTimeProfileIdUint_t;

/// A network port or a port towards a host (PNA 0.7 §4.1.2).
@p4runtime_translation("p4.org/pna/v1/PortId_t", 32)
type PortIdUint_t PortId_t;
/// Which queue of a port.
@p4runtime_translation("p4.org/pna/v1/ClassOfService_t", 8)
type ClassOfServiceUint_t ClassOfService_t;
/// Bytes of a packet.
@p4runtime_translation("p4.org/pna/v1/PacketLength_t", 16)
type PacketLengthUint_t PacketLength_t;
/// Nanoseconds of a clock that only counts up.
@p4runtime_translation("p4.org/pna/v1/Timestamp_t", 64)
type TimestampUint_t Timestamp_t;
/// One flow of packets.
@p4runtime_translation("p4.org/pna/v1/FlowId_t", 32)
type FlowIdUint_t FlowId_t;
/// Which of the target's idle times.
@p4runtime_translation("p4.org/pna/v1/ExpireTimeProfileId_t", 8)
type ExpireTimeProfileIdUint_t ExpireTimeProfileId_t;

/// How the parser ended.
typedef error ParserError_t;

// ---- Match kinds besides those of core.p4: PNA 0.7 §4.3 ----

match_kind {
    /// Between two values, both included; priorities decide.
    range,
    /// All bits, or anything; priorities decide.
    optional
}

// ---- Table properties: PNA 0.7 §8 ----

/// Values of the property pna_idle_timeout (PNA 0.7 §8.2).
enum PNA_IdleTimeout_t {
    /// Entries stay until they are removed.
    NO_TIMEOUT,
    /// The control plane is told of entries that matched nothing for their time.
    NOTIFY_CONTROL,
    /// The data plane removes them; not supported by this target.
    AUTO_DELETE
}

// ---- Externs: PNA 0.7 §7, meaning as in PSA ----

/// Algorithms of Hash.
enum PNA_HashAlgorithm_t {
    /// The data itself, cut to the result's width.
    IDENTITY,
    /// CRC-32 of IEEE 802.3.
    CRC32,
    /// CRC-32 with a polynomial of the target's.
    CRC32_CUSTOM,
    /// CRC-16.
    CRC16,
    /// CRC-16 with a polynomial of the target's.
    CRC16_CUSTOM,
    /// The 16-bit ones' complement sum of RFC 1071.
    ONES_COMPLEMENT16,
    /// Whatever the target does best.
    TARGET_DEFAULT
}

/// A hash with a result of type O.
extern Hash<O> {
    /// With this algorithm.
    Hash(PNA_HashAlgorithm_t algo);
    /// Of the data's bits, in order.
    O get_hash<D>(in D data);
    /// base + hash % max.
    O get_hash<T, D>(in T base, in D data, in T max);
}

/// The checksum of IPv4, ICMP, UDP and TCP, adjustable by parts (RFC 1071, RFC 1624).
extern InternetChecksum {
    /// Cleared for every packet.
    InternetChecksum();
    /// As if nothing had been added.
    void clear();
    /// Adds data of a multiple of 16 bits.
    void add<T>(in T data);
    /// Takes data away again.
    void subtract<T>(in T data);
    /// The checksum of what was added and not taken away.
    bit<16> get();
    /// The sum so far, for set_state.
    bit<16> get_state();
    /// Goes on from a sum that get_state gave.
    void set_state(in bit<16> checksum_state);
}

/// What a counter counts.
enum PNA_CounterType_t {
    PACKETS,
    BYTES,
    PACKETS_AND_BYTES
}

/// Counters of W bits, found by an index of type S.
extern Counter<W, S> {
    /// So many.
    Counter(bit<32> n_counters, PNA_CounterType_t type);
    /// One packet more at this index.
    void count(in S index);
}

/// A counter of W bits for each entry of the table that names it in pna_direct_counter.
extern DirectCounter<W> {
    /// Of one kind.
    DirectCounter(PNA_CounterType_t type);
    /// One packet more for the entry that matched.
    void count();
}

/// What a meter meters.
enum PNA_MeterType_t {
    PACKETS,
    BYTES
}

/// A meter's verdict (RFC 2698).
enum PNA_MeterColor_t {
    RED,
    GREEN,
    YELLOW
}

/// Two-rate three-colour meters (RFC 2698), found by an index of type S.
extern Meter<S> {
    /// So many.
    Meter(bit<32> n_meters, PNA_MeterType_t type);
    /// The colour of a packet that had a colour before.
    PNA_MeterColor_t execute(in S index, in PNA_MeterColor_t color);
    /// The colour of a packet that had none.
    PNA_MeterColor_t execute(in S index);
}

/// A meter for each entry of the table that names it in pna_direct_meter.
extern DirectMeter {
    /// Of one kind.
    DirectMeter(PNA_MeterType_t type);
    /// The colour of a packet that had a colour before.
    PNA_MeterColor_t execute(in PNA_MeterColor_t color);
    /// The colour of a packet that had none.
    PNA_MeterColor_t execute();
}

/// Cells of type T that packets read and write, found by an index of type S.
extern Register<T, S> {
    /// So many, all zero.
    Register(bit<32> size);
    /// So many, with this value.
    Register(bit<32> size, T initial_value);
    /// The value at this index.
    T read(in S index);
    /// Sets the value at this index.
    void write(in S index, in T value);
}

/// Messages of type T to the control plane.
extern Digest<T> {
    Digest();
    /// One message.
    void pack(in T data);
}

// ---- Metadata of the blocks: PNA 0.7 §4.2 ----

/// Where a packet comes from.
enum PNA_Source_t {
    FROM_HOST,
    FROM_NET
}

/// Known when the parser starts.
struct pna_main_parser_input_metadata_t {
    /// It went through the pipeline before.
    bool recirculated;
    /// Where it arrived: a network port, or the host's port that sent it.
    PortId_t input_port;
}

/// Known when the control starts.
struct pna_main_input_metadata_t {
    /// It went through the pipeline before.
    bool recirculated;
    /// When it arrived.
    Timestamp_t timestamp;
    /// How the parser ended.
    ParserError_t parser_error;
    /// The queue it was received from.
    ClassOfService_t class_of_service;
    /// Where it arrived: a network port, or the host's port that sent it.
    PortId_t input_port;
}

/// What the target looks at when the deparser is done.
struct pna_main_output_metadata_t {
    /// The queue it is sent on; 0 unless the program says otherwise.
    ClassOfService_t class_of_service;
}

/// Whether a port leads to a host.
extern bool is_host_port(in PortId_t p);
/// Whether a port leads to the network.
extern bool is_net_port(in PortId_t p);

// ---- Where packets go: PNA 0.7 §6.7; controls only, the last call of them counts ----

/// Not sent on when the control is done.
extern void drop_packet();
/// Sent there.
extern void send_to_port(PortId_t dest_port);

// ---- Blocks and package: PNA 0.7 §5 ----

parser MainParserT<MH, MM>(
    packet_in pkt,
    out MH main_hdr,
    inout MM main_user_meta,
    in pna_main_parser_input_metadata_t istd);

control MainControlT<MH, MM>(
    inout MH main_hdr,
    inout MM main_user_meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd);

control MainDeparserT<MH, MM>(
    packet_out pkt,
    in MH main_hdr,
    in MM main_user_meta,
    in pna_main_output_metadata_t ostd);

package PNA_NIC<MH, MM>(
    MainParserT<MH, MM> main_parser,
    MainControlT<MH, MM> main_control,
    MainDeparserT<MH, MM> main_deparser);

#endif
