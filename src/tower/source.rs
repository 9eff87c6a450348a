//! Where in a request a text is found.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderName, header};

use super::address;
use super::path::Pattern;

/// Where in a request a text is found: a customer's id, the value of a dimension, an idempotency
/// key.
///
/// ```
/// use http::Request;
/// use limitry::tower::Source;
///
/// let request = Request::get("/t/acme/files")
///     .header("x-api-key", "key_1")
///     // The client made up the first entry; the proxy that is ours added the second one.
///     .header("x-forwarded-for", "10.0.0.1, 2001:db8::17");
/// let (request, ()) = request.body(())?.into_parts();
/// let says = |source: Source, text| assert_eq!(source.find(&request).as_deref(), Some(text));
///
/// says(Source::header("x-api-key"), "key_1");
/// says(Source::x_forwarded_for(1), "2001:db8::/64");
/// says(Source::path(["/t/{tenant}/files", "/t/{tenant}/jobs"]), "/t/{tenant}/files");
/// says(Source::path_part("/t/{tenant}/{*rest}", "tenant"), "acme");
/// says(Source::header("x-team").or(Source::text("none")), "none");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct Source {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Header(Option<HeaderName>, Cow<'static, str>),
    Bearer,
    Peer(Arc<PeerOf>, &'static str),
    XForwardedFor(usize),
    Forwarded(usize),
    Path(Arc<[Pattern]>),
    PathPart(Arc<Pattern>, Cow<'static, str>),
    Method,
    Text(Cow<'static, str>),
    By(Arc<TextOf>),
    Or(Arc<(Source, Source)>),
}

type PeerOf = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;
type TextOf = dyn for<'r> Fn(&'r Parts) -> Option<Cow<'r, str>> + Send + Sync;

impl Source {
    const fn of(kind: Kind) -> Self {
        Self { kind }
    }

    /// A header, such as `x-api-key` or `x-customer-id`; nothing where it is missing, there more
    /// than once or no visible ASCII.
    ///
    /// What it says goes where ids go: into the store, events and usage. Where that is not meant
    /// for a secret key, a [closure](super::LimitLayer::by) looks its customer up.
    #[must_use]
    pub fn header(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        Self::of(Kind::Header(HeaderName::from_bytes(name.as_bytes()).ok(), name))
    }

    /// The token of `Authorization: Bearer`. As [`header`](Self::header) is.
    #[must_use]
    pub const fn bearer_token() -> Self {
        Self::of(Kind::Bearer)
    }

    /// The address of who is connected, which the server has put into the request as a `T`. IPv6 is
    /// cut to its /64 and IPv4 within IPv6 is IPv4, as with all addresses here.
    ///
    /// ```
    /// use axum::extract::ConnectInfo;
    /// use limitry::tower::Source;
    /// use std::net::SocketAddr;
    ///
    /// // axum: Router::into_make_service_with_connect_info::<SocketAddr>()
    /// let peer = Source::peer(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
    /// // tonic: |peer: &TcpConnectInfo| peer.remote_addr().map(|address| address.ip())
    /// ```
    #[must_use]
    pub fn peer<T, A>(address: impl Fn(&T) -> A + Send + Sync + 'static) -> Self
    where
        T: Send + Sync + 'static,
        A: Into<Option<IpAddr>>,
    {
        let of = move |extensions: &Extensions| address(extensions.get::<T>()?).into();
        Self::of(Kind::Peer(Arc::new(of), type_name::<T>()))
    }

    /// The address that the outermost of so many proxies saw, by `X-Forwarded-For`: each of them
    /// adds the address that it is connected to, so with one it is the last entry, with two the one
    /// before it. What a client writes there itself lies further left and is not looked at.
    ///
    /// Nothing where there are fewer entries, so that who goes round the proxies has no name that
    /// it chooses; where the entry is no address; and for 0 proxies, for nobody is to be believed
    /// then.
    #[must_use]
    pub const fn x_forwarded_for(proxies: usize) -> Self {
        Self::of(Kind::XForwardedFor(proxies))
    }

    /// The address that the outermost of so many proxies saw, by the `for` of `Forwarded`
    /// (RFC 7239). As [`x_forwarded_for`](Self::x_forwarded_for) is.
    #[must_use]
    pub const fn forwarded(proxies: usize) -> Self {
        Self::of(Kind::Forwarded(proxies))
    }

    /// The first of these patterns that the path is of, as it is written here, so that a path with
    /// ids in it is one of a few: `/v1/files/{id}`, `/static/{*rest}`. Nothing where it is of none.
    ///
    /// `{name}` is one segment that is not empty, `{*name}` at the end is all that is left. All
    /// else is compared without its `%` escapes.
    #[must_use]
    pub fn path<P: Into<Cow<'static, str>>>(patterns: impl IntoIterator<Item = P>) -> Self {
        Self::of(Kind::Path(patterns.into_iter().map(|it| Pattern::new(it.into())).collect()))
    }

    /// What stands in the path in the place of a name, without its `%` escapes.
    #[must_use]
    pub fn path_part(
        pattern: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of(Kind::PathPart(Arc::new(Pattern::new(pattern.into())), name.into()))
    }

    /// The method: `GET`.
    #[must_use]
    pub const fn method() -> Self {
        Self::of(Kind::Method)
    }

    /// A text that is always there: the last of several sources, or a limit for all together.
    #[must_use]
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Kind::Text(text.into()))
    }

    /// What a closure finds.
    #[must_use]
    pub fn by(
        find: impl for<'r> Fn(&'r Parts) -> Option<Cow<'r, str>> + Send + Sync + 'static,
    ) -> Self {
        Self::of(Kind::By(Arc::new(find)))
    }

    /// This one, or where there is nothing another one.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::of(Kind::Or(Arc::new((self, other))))
    }

    /// Finds the text in a request.
    #[must_use]
    pub fn find<'r>(&'r self, request: &'r Parts) -> Option<Cow<'r, str>> {
        match &self.kind {
            Kind::Header(name, _) => only(request, name.as_ref()?).map(Cow::Borrowed),
            Kind::Bearer => bearer(request).map(Cow::Borrowed),
            Kind::Peer(of, _) => of(&request.extensions).map(named),
            Kind::XForwardedFor(proxies) => {
                address::x_forwarded_for(&request.headers, *proxies).map(named)
            }
            Kind::Forwarded(proxies) => address::forwarded(&request.headers, *proxies).map(named),
            Kind::Path(patterns) => {
                let path = request.uri.path();
                let found = patterns.iter().find(|pattern| pattern.matches(path))?;
                Some(Cow::Borrowed(found.text()))
            }
            Kind::PathPart(pattern, name) => pattern.part(request.uri.path(), name),
            Kind::Method => Some(Cow::Borrowed(request.method.as_str())),
            Kind::Text(text) => Some(Cow::Borrowed(text)),
            Kind::By(find) => find(request),
            Kind::Or(both) => both.0.find(request).or_else(|| both.1.find(request)),
        }
    }
}

fn named(address: IpAddr) -> Cow<'static, str> {
    Cow::Owned(address::name_of(address))
}

/// A header that is there once: of two nobody knows which one the service goes by.
fn only<'r>(request: &'r Parts, name: &HeaderName) -> Option<&'r str> {
    let mut lines = request.headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    line.to_str().ok().map(str::trim_ascii).filter(|text| !text.is_empty())
}

fn bearer(request: &Parts) -> Option<&str> {
    let (scheme, token) = only(request, &header::AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl fmt::Display for Source {
    /// What is looked for: what a request is told that does not have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Header(_, name) => write!(f, "the header {name}"),
            Kind::Bearer => f.write_str("a bearer token"),
            Kind::Peer(..) => f.write_str("the address of the peer"),
            Kind::XForwardedFor(_) => f.write_str("an address in X-Forwarded-For"),
            Kind::Forwarded(_) => f.write_str("an address in Forwarded"),
            Kind::Path(_) => f.write_str("a path that is known"),
            Kind::PathPart(pattern, _) => write!(f, "a path of {}", pattern.text()),
            Kind::Method => f.write_str("a method"),
            Kind::Text(_) => f.write_str("a text"),
            Kind::By(_) => f.write_str("who sent it"),
            Kind::Or(both) => write!(f, "{}, or {}", both.0, both.1),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut source = f.debug_tuple("Source");
        match &self.kind {
            Kind::XForwardedFor(proxies) | Kind::Forwarded(proxies) => {
                source.field(&format_args!("{self}, {proxies} from the right"))
            }
            Kind::Peer(_, of) => source.field(&format_args!("{self}, by {of}")),
            Kind::Path(patterns) => source.field(patterns),
            _ => source.field(&format_args!("{self}")),
        };
        source.finish()
    }
}
