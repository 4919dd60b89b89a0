//! The forms in which clients send arguments: an address, JSON, a form, and a form whose only name is JSON, which is
//! what curl makes of `-d '{…}'`.

use std::collections::BTreeMap;

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header},
};
use serde_json::{Map, Value};

/// Arguments by name.
pub(super) type Args = Map<String, Value>;

const FORM: &str = "application/x-www-form-urlencoded";

/// Reads the arguments of a request. As in CKAN, a form comes before the address, and the address before other bodies.
/// The error is what the client is told.
pub(super) fn read(
    query: Option<&str>,
    posted: Option<(&HeaderMap, &[u8])>,
) -> Result<Args, String> {
    let body = posted.map_or(&[][..], |(_, body)| body);
    let kind = posted.and_then(|(headers, _)| headers.get(header::CONTENT_TYPE)?.to_str().ok());
    let pairs = if kind.is_some_and(|kind| kind.starts_with(FORM)) {
        pairs(&String::from_utf8_lossy(body))
    } else {
        Vec::new()
    };
    let value = match &pairs[..] {
        [(name, value)] if matches!(value.as_str(), "" | "1") => decode(name.as_bytes())?,
        [] => {
            let own = self::pairs(query.unwrap_or_default());
            if own.is_empty() && !body.is_empty() { decode(body)? } else { mixed(own).into() }
        }
        _ => mixed(pairs).into(),
    };
    let Value::Object(mut args) = value else {
        return Err(format!(
            "Bad request data: Request data JSON decoded to {value} but it needs to be a dictionary."
        ));
    };
    args.remove("callback");
    Ok(args)
}

fn decode(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| {
        let shown: String = String::from_utf8_lossy(text).chars().take(200).collect();
        format!(
            "Bad request data: Error decoding JSON data. Error: {error} \
             JSON data extracted from the request: {shown:?}"
        )
    })
}

fn pairs(encoded: &str) -> Vec<(String, String)> {
    let uri = Uri::builder().path_and_query(format!("/?{}", plain(encoded))).build();
    let pairs = uri.ok().and_then(|uri| Query::try_from_uri(&uri).ok());
    pairs.map_or_else(Vec::new, |Query(pairs)| pairs)
}

/// What an address may hold; anything else is encoded. Clients post forms with bare braces and quotes.
fn plain(encoded: &str) -> String {
    let mut plain = String::with_capacity(encoded.len());
    for byte in encoded.trim().bytes() {
        if byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`' | b'{' | b'}')
        {
            plain.push(char::from(byte));
        } else {
            plain.push('%');
            plain.push_str(&hex::encode_upper([byte]));
        }
    }
    plain
}

/// A name that is given several times has a list.
fn mixed(pairs: Vec<(String, String)>) -> Args {
    let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, value) in pairs {
        values.entry(name).or_default().push(value.into());
    }
    let single = |mut values: Vec<Value>| match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    };
    values.into_iter().map(|(name, values)| (name, single(values))).collect()
}
