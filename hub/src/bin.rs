//! `liandong-hub`.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_hub::cli::main(std::env::args_os())
}
