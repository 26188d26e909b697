//! What the compiler writes: each form of output in a file of its own, all from the intermediate form.
