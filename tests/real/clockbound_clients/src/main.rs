//! Asks ClockBoundD 0.1.x by its own client: for each line read, one line is written, either "earliest latest" in ns
//! since the Unix epoch with a 1 if chronyd is unsynchronized, or why there is no answer.

use clock_bound_c::ClockBoundClient;
use std::io::{stdin, stdout, BufRead, Write};

fn main() {
    let path = std::env::args().nth(1).expect("the daemon's socket is wanted");
    let client = ClockBoundClient::new_with_path(path.into()).expect("no client");
    for line in stdin().lock().lines() {
        line.expect("cannot read");
        match client.now() {
            Ok(now) => println!(
                "{} {} {}",
                now.bound.earliest,
                now.bound.latest,
                u8::from(now.header.unsynchronized_flag)
            ),
            Err(error) => println!("{error}"),
        }
        stdout().flush().expect("cannot write");
    }
}
