// InfiniBand's transport over UDP: RoCE v2 (IBTA volume 1 chapter 9, annex A17).

/// The UDP port of RoCE v2.
const bit<16> ROCE_PORT = 4791;

/// Base transport header (§9.2).
header bth_h {
    bit<8>       opcode;
    bit<1>       solicited;
    bit<1>       migrated;
    bit<2>       pad;
    bit<4>       version;
    bit<16>      pkey;
    bit<1>       fecn;
    bit<1>       becn;
    bit<6>       reserved6;
    bit<24>      dest_qp;
    bit<1>       ack_request;
    bit<7>       reserved7;
    bit<24>      psn;
}

/// Datagram extended transport header (§9.3.1).
header deth_h {
    bit<32>      qkey;
    bit<8>       reserved;
    bit<24>      source_qp;
}

/// RDMA extended transport header (§9.3.3).
header reth_h {
    bit<64>      address;
    bit<32>      rkey;
    bit<32>      length;
}

/// ACK extended transport header (§9.3.5).
header aeth_h {
    bit<1>       reserved;
    bit<2>       kind;
    bit<5>       value;
    bit<24>      msn;
}

/// Immediate data (§9.3.6).
header immediate_h {
    bit<32>      data;
}

/// Invalidate extended transport header (§9.3.7).
header ieth_h {
    bit<32>      rkey;
}

/// Atomic extended transport header (§9.3.4).
header atomic_h {
    bit<64>      address;
    bit<32>      rkey;
    bit<64>      swap;
    bit<64>      compare;
}

/// Atomic ACK extended transport header (§9.3.5.3).
header atomic_ack_h {
    bit<64>      original;
}

/// What fills a congestion notification packet behind its BTH (annex A17.9.3).
header cnp_h {
    bit<128>     reserved;
}

/// Opcodes: three bits of service and five of operation (§9.2.1). Service 0 is RC, 3 is UD.
enum bit<8> opcode_t {
    SEND_FIRST              = 0x00,
    SEND_MIDDLE             = 0x01,
    SEND_LAST               = 0x02,
    SEND_LAST_IMMEDIATE     = 0x03,
    SEND_ONLY               = 0x04,
    SEND_ONLY_IMMEDIATE     = 0x05,
    WRITE_FIRST             = 0x06,
    WRITE_MIDDLE            = 0x07,
    WRITE_LAST              = 0x08,
    WRITE_LAST_IMMEDIATE    = 0x09,
    WRITE_ONLY              = 0x0a,
    WRITE_ONLY_IMMEDIATE    = 0x0b,
    READ_REQUEST            = 0x0c,
    READ_RESPONSE_FIRST     = 0x0d,
    READ_RESPONSE_MIDDLE    = 0x0e,
    READ_RESPONSE_LAST      = 0x0f,
    READ_RESPONSE_ONLY      = 0x10,
    ACKNOWLEDGE             = 0x11,
    ATOMIC_ACKNOWLEDGE      = 0x12,
    COMPARE_SWAP            = 0x13,
    FETCH_ADD               = 0x14,
    SEND_LAST_INVALIDATE    = 0x16,
    SEND_ONLY_INVALIDATE    = 0x17,
    UD_SEND_ONLY            = 0x64,
    UD_SEND_ONLY_IMMEDIATE  = 0x65,
    CNP                     = 0x81
}

/// Bytes behind the payload.
const bit<16> ICRC_BYTES = 4;
/// The general services interface, where connection management is (§13.5.1).
const bit<24> QP1 = 1;
