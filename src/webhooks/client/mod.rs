//! A transport: HTTP/1.1 over TLS, to public addresses alone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use http::header::{DATE, HOST, RETRY_AFTER};
use http::{HeaderMap, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::address::is_public;
use super::transport::{Outgoing, Reply, SendError, Sending, Transport};

mod resolve;
mod run;

pub use self::resolve::{Resolve, Resolving, SystemResolver};
pub use self::run::run;

/// How many bytes the head of an answer has at most, and how many headers. Its body is not read.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
const MAX_HEADERS: usize = 100;
/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 4;

/// How a [`Client`] connects.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientOptions {
    connect_timeout: Duration,
    timeout: Duration,
    allow_private_addresses: bool,
    resolver: Arc<dyn Resolve>,
    roots: Vec<CertificateDer<'static>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientOptions {
    /// The usual ones.
    pub fn new() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            allow_private_addresses: false,
            resolver: Arc::new(SystemResolver),
            roots: Vec::new(),
        }
    }

    /// Sets how long a connection to one address may take: 5 s where it is not set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a request may take in all, from its name's look-up to the head of the answer:
    /// 20 s where it is not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lets it connect to addresses that are not [public](is_public): for tests, and where whoever
    /// creates endpoints may reach all that this machine reaches.
    pub fn allow_private_addresses(mut self, allow: bool) -> Self {
        self.allow_private_addresses = allow;
        self
    }

    /// Sets who looks up names: the system where it is not set.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Trusts another certificate, as DER, beside those of Mozilla's list.
    pub fn root(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.roots.push(CertificateDer::from(certificate.into()));
        self
    }
}

/// Sends webhooks over HTTP/1.1, a connection each.
///
/// A host's name is looked up once a request; the addresses that are not [public](is_public) are
/// left out, and it connects to one of the others: no second look-up could give another one. It
/// follows no redirect, goes through no proxy, and reads no more of an answer than its head. TLS is
/// 1.2 or 1.3, by the roots of Mozilla's list as of the build.
#[derive(Clone)]
pub struct Client {
    options: ClientOptions,
    tls: TlsConnector,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes one.
    ///
    /// # Errors
    /// A [root](ClientOptions::root) is no certificate.
    pub fn new(options: ClientOptions) -> Result<Self, SendError> {
        let failed = |why: tokio_rustls::rustls::Error| SendError::Tls { why: why.to_string() };
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in &options.roots {
            roots.add(root.clone()).map_err(failed)?;
        }
        let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { options, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn post(&self, outgoing: &Outgoing) -> Result<Reply, SendError> {
        let url: Uri = outgoing.url.parse().map_err(|_| SendError::Url)?;
        let authority = url.authority().ok_or(SendError::Url)?;
        let is_plain = match url.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(SendError::Url),
        };
        let port = url.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let mut request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()));
        request = request.header(HOST, authority.as_str());
        for (name, value) in &outgoing.headers {
            request = request.header(*name, value);
        }
        let request = request.body(outgoing.body.to_string()).map_err(|_| SendError::Url)?;
        let stream = self.connect(host, port).await?;
        if is_plain {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| SendError::Url)?;
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|why| SendError::Tls { why: why.to_string() })?, request).await
    }

    /// Connects to the first address that takes it, of those that may be called.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, SendError> {
        let addresses = if let Ok(address) = host.parse::<IpAddr>() {
            vec![address]
        } else {
            let found = self.options.resolver.resolve(host).await;
            found.map_err(|_| SendError::NoAddress)?
        };
        let first = *addresses.first().ok_or(SendError::NoAddress)?;
        let may = |address: &IpAddr| self.options.allow_private_addresses || is_public(*address);
        let mut failed = SendError::NotPublic { address: first };
        for address in addresses.into_iter().filter(may).take(MAX_ADDRESSES) {
            let connected = TcpStream::connect(SocketAddr::new(address, port));
            failed = match timeout(self.options.connect_timeout, connected).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => SendError::Connect { why: why.to_string() },
                Err(_) => SendError::TimedOut,
            };
        }
        Err(failed)
    }
}

impl Transport for Client {
    fn send<'a>(&'a self, request: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            let answered = timeout(self.options.timeout, self.post(request)).await;
            answered.unwrap_or(Err(SendError::TimedOut))
        })
    }
}

/// Makes a request on a connection, and reads the head of its answer.
async fn exchange<S>(stream: S, request: Request<String>) -> Result<Reply, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |why: hyper::Error| SendError::Answer { why: why.to_string() };
    let mut of = http1::Builder::new();
    of.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    let (mut sender, connection) = of.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // The connection may end with the answer.
        _ = &mut connection => answer.await,
    };
    let (head, _body) = response.map_err(failed)?.into_parts();
    let reply = Reply::new(head.status.as_u16());
    Ok(match retry_after(&head.headers) {
        Some(wait) => reply.retry_after(wait),
        None => reply,
    })
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| DateTime::parse_from_rfc2822(text).ok();
    (date(asked)?.signed_duration_since(date(text(DATE)?)?)).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read() {
        let of = |fields: &[(http::HeaderName, &str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (name.clone(), http::HeaderValue::from_str(value).expect("a value"))
            });
            retry_after(&fields.collect())
        };
        assert_eq!(of(&[(RETRY_AFTER, "120")]), Some(Duration::from_secs(120)));
        for none in ["", "-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(of(&[(RETRY_AFTER, none)]), None, "{none}");
        }
        let dates = [
            (RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT"),
            (DATE, "Fri, 31 Dec 1999 23:58:59 GMT"),
        ];
        assert_eq!(of(&dates), Some(Duration::from_secs(60)));
    }
}
