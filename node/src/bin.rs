//! `liandong-node`.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_node::cli::main(std::env::args_os())
}
