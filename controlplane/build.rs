//! Makes sure that the folder of the embedded page exists, so that the crate builds before the page does.

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
    if let Err(error) = std::fs::create_dir_all("web/dist") {
        println!("cargo:warning=web/dist cannot be made: {error}");
    }
}
