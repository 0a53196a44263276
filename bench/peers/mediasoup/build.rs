//! Hands over to the linker what `bench/peers/mediasoup.sh` found on this machine: mediasoup's worker is built against
//! Debian's libraries, which its own build script does not know of.

fn main() {
    println!("cargo:rerun-if-env-changed=WORKER_LIBRARIES");
    for argument in std::env::var("WORKER_LIBRARIES").unwrap_or_default().split_whitespace() {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
