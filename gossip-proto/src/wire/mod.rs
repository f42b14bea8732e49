//! Untrusted bytes to typed values and back. Nothing here keeps state.

pub mod compound;
pub mod field;
pub mod keyring;
pub mod label;
pub mod layers;
pub mod lzw;
pub mod message;
pub mod msgpack;
pub mod packet;
pub mod seal;
pub mod serf;
pub mod stream;
