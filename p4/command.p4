// Every I/O command's way to a drive: which blocks of which drive the host means, whether it may, and with what status it is
// refused. Widths and numbers are in host order; opcodes and statuses are those of NVMe Base 2.0 and the NVM Command Set 1.0.

#include <core.p4>
#include <pna.p4>
#include "parts/command_architecture.p4"

/// Namespaces of all controllers together.
#define NAMESPACES 65536
/// Tenants.
#define TENANTS 4096
/// Most bytes of one command (the controllers' MDTS).
#define TRANSFER_MAX 131072
/// A range list is never longer than a page.
#define RANGE_LIST_MAX 4096

/// Opcodes (NVM Command Set 1.0 §3).
enum bit<8> opcode_t {
    FLUSH              = 0x00,
    WRITE              = 0x01,
    READ               = 0x02,
    COMPARE            = 0x05,
    WRITE_ZEROES       = 0x08,
    DATASET_MANAGEMENT = 0x09,
    FABRICS            = 0x7f
}

/// Statuses: type and code as in a completion's status field (NVMe Base 2.0 §3.3.3.2).
enum bit<16> status_t {
    SUCCESS            = 0x000,
    INVALID_OPCODE     = 0x001,
    INVALID_FIELD      = 0x002,
    INVALID_NAMESPACE  = 0x00b,
    SGL_LENGTH_INVALID = 0x00f,
    SGL_TYPE_INVALID   = 0x011,
    WRITE_PROTECTED    = 0x020,
    LBA_OUT_OF_RANGE   = 0x080,
    ANA_INACCESSIBLE   = 0x302
}

/// What becomes of a command.
enum bit<8> verdict_t {
    REFUSE = 0,
    DRIVE  = 1,
    PUNT   = 2,
    WAIT   = 3
}

/// Why it is refused; also the counter's index.
enum bit<8> refusal_t {
    NONE      = 0,
    OPCODE    = 1,
    FIELD     = 2,
    NAMESPACE = 3,
    RANGE     = 4,
    PROTECTED = 5
}

/// Where a command's data goes, by its opcode's low bits (NVMe Base 2.0 §3.3.3.1).
enum bit<2> transfer_t {
    NONE    = 0,
    TO_CARD = 1,
    TO_HOST = 2
}

struct command_t {
    /// The controller of the queue, and whether it is its admin queue.
    bit<16>    cntlid;
    bit<1>     admin;
    /// Of the submission queue entry.
    bit<8>     opcode;
    bit<2>     fuse;
    bit<32>    nsid;
    bit<64>    slba;
    bit<32>    blocks;
    bit<32>    ranges;
    /// Bytes that its SGL describes, and whether they are in the capsule.
    bit<32>    described;
    bit<1>     in_capsule;
    /// What becomes of it.
    verdict_t  verdict;
    status_t   status;
    refusal_t  refusal;
    /// The drive, its namespace and blocks.
    bit<16>    drive;
    bit<32>    drive_nsid;
    bit<64>    drive_lba;
    bit<8>     block_bits;
    /// Bytes that are moved, and where.
    bit<32>    bytes;
    transfer_t transfer;
    /// Who pays for it, and whether it has paid for being a command.
    bit<16>    tenant;
    bit<1>     paid;
}

control Command(inout command_t command) {
    /// Commands refused, by reason.
    Counter<bit<64>, refusal_t>(8, PNA_CounterType_t.PACKETS) refusals;
    /// Commands of each entry.
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) namespace_commands;
    /// What each tenant's commands may move.
    Meter<bit<16>>(TENANTS, PNA_MeterType_t.BYTES) tenant_bandwidth;
    /// How many commands each tenant may send.
    Meter<bit<16>>(TENANTS, PNA_MeterType_t.PACKETS) tenant_commands;

    bool writes = false;
    bool has_range = false;
    bit<64> lba_base = 0;
    bit<64> lba_count = 0;
    bool read_only = false;

    action refuse(status_t status, refusal_t refusal) {
        command.verdict = verdict_t.REFUSE;
        command.status = status;
        command.refusal = refusal;
        refusals.count(refusal);
    }

    action access(bit<1> does_write, bit<1> names_blocks, transfer_t transfer) {
        writes = does_write == 1;
        has_range = names_blocks == 1;
        command.transfer = transfer;
    }

    action unknown_opcode() {
        refuse(status_t.INVALID_OPCODE, refusal_t.OPCODE);
    }

    /// What an opcode does. Others than these are refused.
    @owner("program")
    table opcodes {
        key = { command.opcode: exact @name("opcode"); }
        actions = { access; @defaultonly unknown_opcode; }
        const default_action = unknown_opcode();
        const entries = {
            opcode_t.FLUSH:              access(0, 0, transfer_t.NONE);
            opcode_t.WRITE:              access(1, 1, transfer_t.TO_CARD);
            opcode_t.READ:               access(0, 1, transfer_t.TO_HOST);
            opcode_t.COMPARE:            access(0, 1, transfer_t.TO_CARD);
            opcode_t.WRITE_ZEROES:       access(1, 1, transfer_t.NONE);
            opcode_t.DATASET_MANAGEMENT: access(1, 0, transfer_t.TO_CARD);
        }
        size = 8;
    }

    /// The namespace's blocks are these of that drive's.
    action blocks_of(
        bit<16> drive, bit<32> drive_nsid, bit<64> base, bit<64> count, bit<1> protected, bit<16> tenant)
    {
        command.drive = drive;
        command.drive_nsid = drive_nsid;
        lba_base = base;
        lba_count = count;
        read_only = protected == 1;
        command.tenant = tenant;
        namespace_commands.count();
    }

    action no_namespace() {
        refuse(status_t.INVALID_NAMESPACE, refusal_t.NAMESPACE);
    }

    /// What each controller's namespaces are.
    @owner("control")
    table namespaces {
        key = {
            command.cntlid: exact @name("cntlid");
            command.nsid:   exact @name("nsid");
        }
        actions = { blocks_of; @defaultonly no_namespace; }
        const default_action = no_namespace();
        size = NAMESPACES;
        pna_direct_counter = namespace_commands;
    }

    apply {
        if (command.verdict == verdict_t.WAIT) {
            // It was decided before, and has waited for its tenant's turn.
            command.verdict = verdict_t.DRIVE;
        } else if (command.admin == 1 || command.opcode == (bit<8>)opcode_t.FABRICS) {
            command.verdict = verdict_t.PUNT;
        } else if (command.fuse != 0) {
            refuse(status_t.INVALID_FIELD, refusal_t.FIELD);
        } else if (!opcodes.apply().hit) {
            // It was refused.
        } else if (command.nsid == 0xffffffff && command.opcode == (bit<8>)opcode_t.FLUSH) {
            // VWC says that a broadcast flush is not taken (NVMe Base 2.0 §7.1).
            refuse(status_t.INVALID_NAMESPACE, refusal_t.NAMESPACE);
        } else if (!namespaces.apply().hit) {
            // It was refused.
        } else if (read_only && writes) {
            refuse(status_t.WRITE_PROTECTED, refusal_t.PROTECTED);
        } else {
            command.block_bits = block_shift(command.drive, command.drive_nsid);
            // One bit more than there are, so that the sum is right.
            bit<65> end = (bit<65>)command.slba + (bit<65>)command.blocks;
            bit<64> bytes = 0;
            if (command.transfer != transfer_t.NONE) {
                if (has_range) {
                    bytes = (bit<64>)command.blocks << command.block_bits;
                } else {
                    bytes = (bit<64>)command.ranges << 4;
                    if (bytes > RANGE_LIST_MAX) { bytes = RANGE_LIST_MAX; }
                }
            }
            if (command.block_bits == 0) {
                // Its drive is away: another path may be there, or the drive again, when it is tried again.
                refuse(status_t.ANA_INACCESSIBLE, refusal_t.NAMESPACE);
            } else if (has_range && end > (bit<65>)lba_count) {
                refuse(status_t.LBA_OUT_OF_RANGE, refusal_t.RANGE);
            } else if (bytes > TRANSFER_MAX) {
                refuse(status_t.INVALID_FIELD, refusal_t.FIELD);
            } else if ((bit<64>)command.described < bytes) {
                // A host may describe more than it needs (a range list is padded to its page), never less.
                refuse(status_t.SGL_LENGTH_INVALID, refusal_t.FIELD);
            } else if (command.transfer == transfer_t.TO_HOST && command.in_capsule == 1) {
                refuse(status_t.SGL_TYPE_INVALID, refusal_t.FIELD);
            } else {
                command.bytes = bytes[31:0];
                if (!has_range) { command.blocks = 0; }
                command.drive_lba = has_range ? lba_base + command.slba : 0;
                command.verdict = verdict_t.DRIVE;
            }
        }
        if (command.verdict == verdict_t.DRIVE) {
            if (command.paid == 0 && tenant_commands.execute(command.tenant) != PNA_MeterColor_t.RED) {
                command.paid = 1;
            }
            if (command.paid == 0 || tenant_bandwidth.execute(command.tenant) == PNA_MeterColor_t.RED) {
                command.verdict = verdict_t.WAIT;
            }
        }
    }
}

@pkginfo(name = "gantry.command", version = "0.1.0", arch = "gantry_command")
CommandPipeline(Command()) main;
