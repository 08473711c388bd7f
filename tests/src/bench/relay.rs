//! A bare byte relay: what any proxy in user space costs at least. One current-thread runtime per core, as the product.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Relays every connection to `listen` on to `to`, for ever.
pub fn run(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = hoop::proxy::bind(listen, cores)?
        .into_iter()
        .map(|listener| std::thread::spawn(move || core(listener, to)))
        .collect();
    for thread in threads {
        thread.join().expect("a relay thread does not panic")?;
    }
    Ok(())
}

fn core(listener: std::net::TcpListener, to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (mut client, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                client.set_nodelay(true)?;
                let mut server = TcpStream::connect(to).await?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    })
}
