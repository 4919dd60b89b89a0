//! The stylesheet, the icon and the script, inside the binary. Their URLs carry a hash of the content, so that
//! browsers may keep them for a year and still see a new version at once.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use liandong_core::id::Hash;

struct Asset {
    url: String,
    media_type: &'static str,
    bytes: &'static [u8],
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |name: &str, extension: &str, media_type, bytes: &'static [u8]| {
        let url = format!("/assets/{name}-{}.{extension}", Hash::of(&[bytes]).short());
        Asset { url, media_type, bytes }
    };
    [
        asset("app", "css", "text/css; charset=utf-8", include_bytes!("../../assets/app.css")),
        asset("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
        asset(
            "suggest",
            "js",
            "text/javascript; charset=utf-8",
            include_bytes!("../../assets/suggest.js"),
        ),
    ]
});

/// Where the stylesheet is.
pub(crate) fn css_url() -> &'static str {
    &ASSETS[0].url
}

/// Where the icon is.
pub(crate) fn icon_url() -> &'static str {
    &ASSETS[1].url
}

/// Where the script is that suggests as one types.
pub(crate) fn script_url() -> &'static str {
    &ASSETS[2].url
}

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let found = ASSETS.iter().find(|asset| asset.url.strip_prefix("/assets/") == Some(&name));
    let Some(asset) = found else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.bytes).into_response()
}
