//! The `hoop-db` binary.

fn main() -> std::process::ExitCode {
    hoop::cli::main()
}
