//! What only shows from the inside: the dissemination queue against the traces of the reference.

mod traces;
