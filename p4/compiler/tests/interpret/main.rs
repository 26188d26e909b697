//! The interpreter and the emitters, on programs built by hand: nothing here goes through the front end.

mod build;
mod documents;
mod example;
mod expressions;
mod externs;
mod from_text;
mod p4info;
mod parsing;
mod programs;
mod random_expressions;
mod statements;
mod tables;
