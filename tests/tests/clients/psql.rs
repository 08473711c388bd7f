//! psql: its backslash commands, COPY both ways, scripts, errors.

use anyhow::Result;
use tests::House;

#[tokio::test(flavor = "multi_thread")]
async fn probe() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let done = tests::house::run(
        std::process::Command::new("sh")
            .arg("-c")
            .arg(std::env::var("PROBE")?)
            .envs(house.libpq(&grant))
            .env("PYTHON", crate::python()),
        "",
    );
    let (_ok, out, err) = done?;
    println!("{out}\n{err}");
    for session in super::sessions(&house, &grant)? {
        println!("why {}", session["why"]);
        for step in session["steps"].as_array().unwrap() {
            println!("{} {} {}", step["text"], step["decision"]["decision"], step["outcome"]);
        }
    }
    println!("{}", house.broker_log());
    println!(
        "{}",
        house
            .cluster
            .log()?
            .lines()
            .filter(|line| line.contains("ERROR") || line.contains("CONTEXT"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}
