// What every P4_16 program may rely on: errors, packets, match kinds, verify, NoAction.
// Declarations after P4_16 1.2.4, appendix D; what the compiler's subset has no use for (variable-length
// extraction, header stacks) is left out, so that a program which asks for it is told so.

#ifndef GANTRY_CORE_P4
#define GANTRY_CORE_P4

// P4_16 1.2.4 §7.1.2: the first error is 0; programs may add to the list.
error {
    /// The parser accepted the packet.
    NoError,
    /// The packet ended inside of what was to be extracted, looked at or skipped (§13.8).
    PacketTooShort,
    /// No case of a select fits its keys (§13.6).
    NoMatch,
    /// Never raised here: there are no header stacks in the subset.
    StackOutOfBounds,
    /// Never raised here: there is no varbit in the subset.
    HeaderTooShort,
    /// Never raised here: parsers have no loops.
    ParserTimeout,
    /// An operation was asked to do what the target cannot, such as skipping a part of a byte.
    ParserInvalidArgument
}

/// The packet that a parser reads (P4_16 1.2.4 §13.8).
extern packet_in {
    /// Fills a header from the packet, makes it valid and moves on by its length (§13.8.1).
    void extract<T>(out T hdr);
    /// The bits to come, without moving (§13.8.3).
    T lookahead<T>();
    /// Moves on by a number of bits (§13.8.4).
    void advance(in bit<32> sizeInBits);
    /// Bytes of the whole packet.
    bit<32> length();
}

/// The packet that a deparser writes (P4_16 1.2.4 §16.1).
extern packet_out {
    /// Appends a header if it is valid; of a struct, its headers one after the other.
    void emit<T>(in T hdr);
}

/// Ends the parser with an error unless the condition holds (P4_16 1.2.4 §13.7).
extern void verify(in bool check, in error toSignal);

/// Does nothing. The default action of a table that names none (P4_16 1.2.4 §14.2.1.3).
action NoAction() {}

// P4_16 1.2.4 §7.1.3 and §14.2.1.1.
match_kind {
    /// All bits are equal.
    exact,
    /// The bits under a mask are equal; priorities decide.
    ternary,
    /// The first bits are equal; the longest prefix wins.
    lpm
}

#endif
