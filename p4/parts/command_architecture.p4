// What command.p4 runs on: one block between the capsule (s4) and the drive (s6), and what it may ask of the data plane.

/// Decides a command: `command` holds what the capsule said, and is given what is to be done.
control CommandT<C>(inout C command);

package CommandPipeline<C>(CommandT<C> command);

/// The size of a drive's blocks as a power of two; 0 while the drive cannot be used.
extern bit<8> block_shift(in bit<16> drive, in bit<32> nsid);
