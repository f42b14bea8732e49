//! What can go wrong.

mod links;
mod nodes;
