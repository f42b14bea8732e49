//! As much of HTTP as it takes to be scraped: one request for each connection, bounded in size and time, as are the
//! connections.

use core::future::Future;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Answers requests for `/metrics` with what `page` makes; ends when that has nothing more to say.
pub(super) async fn serve<F, P>(listener: TcpListener, page: F)
where
    F: Fn() -> P + Clone + Send + Sync + 'static,
    P: Future<Output = Option<String>> + Send,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Closed never.
    while let Ok(place) = places.clone().acquire_owned().await {
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others may let some go.
                tracing::warn!("agent: metrics: cannot accept: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let page = page.clone();
        tokio::spawn(async move {
            let _place = place;
            let _ = timeout(LIMIT, answer(&mut stream, page)).await;
        });
    }
}

async fn answer<P>(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), page: impl Fn() -> P) -> io::Result<()>
where
    P: Future<Output = Option<String>>,
{
    let (status, body) = match read_head(stream).await? {
        None => ("431 Request Header Fields Too Large", None),
        Some(head) => match request(&head) {
            Request::Page => match page().await {
                Some(page) => ("200 OK", Some(page)),
                None => ("503 Service Unavailable", None),
            },
            Request::Elsewhere => ("404 Not Found", None),
            Request::Method => ("405 Method Not Allowed", None),
            Request::Nonsense => ("400 Bad Request", None),
        },
    };
    let body = body.unwrap_or_else(|| format!("{status}\n"));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Up to the empty line; `None` if there is too much before it.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(Some(head));
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Some(head));
        }
        if head.len() >= MAX_HEAD {
            return Ok(None);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Page,
    Elsewhere,
    Method,
    Nonsense,
}

fn request(head: &[u8]) -> Request {
    let line = head.split(|&byte| byte == b'\r').next().and_then(|line| core::str::from_utf8(line).ok());
    let mut words = line.unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Request::Nonsense;
    };
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        _ if !version.starts_with("HTTP/1.") => Request::Nonsense,
        ("GET", "/metrics" | "/") => Request::Page,
        ("GET", _) => Request::Elsewhere,
        _ => Request::Method,
    }
}

/// Connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request.
const MAX_HEAD: usize = 8 * 1024;
/// For one request and its answer.
const LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    async fn ask(request: &[u8]) -> String {
        let (mut client, mut server) = duplex(64 * 1024);
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        answer(&mut server, || async { Some("serf_events 1\n".to_owned()) }).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn answers_what_prometheus_asks() {
        let text = ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;"), "{text}");
        assert!(
            text.contains("\r\nContent-Length: 14\r\n") && text.ends_with("\r\n\r\nserf_events 1\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn refuses_everything_else() {
        for (request, status) in [
            (&b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"[..], "200"),
            (b"GET /admin HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics HTTP/2\r\n\r\n", "400"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"\xff\xff\r\n\r\n", "400"),
            (b"", "400"),
            (&[b'x'; 2 * MAX_HEAD], "431"),
        ] {
            let text = ask(request).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        }
    }
}
