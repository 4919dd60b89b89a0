//! The language of a page: `?lang=` if given, else what the browser prefers, else Chinese.

use axum::http::{HeaderMap, Uri, header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lang {
    Zh,
    En,
}

/// Language and address of a page.
#[derive(Debug, Clone)]
pub(crate) struct Locale {
    lang: Lang,
    /// `?lang=` was given, so links keep it.
    explicit: bool,
    /// Path and query of this page without `lang`.
    here: String,
}

impl Locale {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let (own, rest): (Vec<&str>, Vec<&str>) =
            pairs.partition(|pair| pair.split('=').next() == Some("lang"));
        let asked = own.last().and_then(|pair| pair.split_once('=')).and_then(|(_, l)| known(l));
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let path = uri.path();
        let here =
            if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
        Self {
            lang: asked.or_else(|| accepted.and_then(preferred)).unwrap_or(Lang::Zh),
            explicit: asked.is_some(),
            here,
        }
    }

    /// A locale for samples.
    #[cfg(test)]
    pub(crate) fn sample() -> [Self; 2] {
        let here = "/search?q=%E5%81%9C%E8%BD%A6".to_owned();
        [
            Self { lang: Lang::Zh, explicit: false, here: here.clone() },
            Self { lang: Lang::En, explicit: true, here },
        ]
    }

    /// Chooses one of two texts.
    pub(crate) fn t<T>(&self, zh: T, en: T) -> T {
        match self.lang {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }

    /// The language's tag for HTML.
    pub(crate) fn tag(&self) -> &'static str {
        self.t("zh-CN", "en")
    }

    /// A link within the site, in the language that was chosen by hand.
    pub(crate) fn link(&self, to: &str) -> String {
        if self.explicit { with_lang(to, self.t("zh", "en")) } else { to.to_owned() }
    }

    /// This page in the other language.
    pub(crate) fn switch(&self) -> String {
        with_lang(&self.here, self.t("en", "zh"))
    }

    /// The language to carry through a form, when it was chosen by hand.
    pub(crate) fn chosen(&self) -> Option<&'static str> {
        self.explicit.then(|| self.t("zh", "en"))
    }
}

fn with_lang(to: &str, lang: &str) -> String {
    let separator = if to.contains('?') { '&' } else { '?' };
    format!("{to}{separator}lang={lang}")
}

fn known(tag: &str) -> Option<Lang> {
    let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
    match primary.to_ascii_lowercase().as_str() {
        "zh" => Some(Lang::Zh),
        "en" => Some(Lang::En),
        _ => None,
    }
}

/// The first language of the list that we have. Browsers list by preference, so weights are read
/// only to skip what is not wanted at all.
fn preferred(list: &str) -> Option<Lang> {
    list.split(',')
        .filter(|item| !item.replace(' ', "").ends_with(";q=0"))
        .find_map(|item| known(item.split(';').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locale(uri: &str, accept: Option<&'static str>) -> Locale {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        }
        Locale::of(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn the_query_wins_over_the_browser_and_chinese_is_the_default() {
        let rows = [
            ("/", None, "zh-CN"),
            ("/", Some("fr, de;q=0.5"), "zh-CN"),
            ("/", Some("en-GB,zh;q=0.8"), "en"),
            ("/", Some("en;q=0, zh-TW"), "zh-CN"),
            ("/?lang=en", Some("zh"), "en"),
            ("/?lang=zh", Some("en"), "zh-CN"),
            ("/?lang=xx", None, "zh-CN"),
        ];
        for (uri, accept, tag) in rows {
            assert_eq!(locale(uri, accept).tag(), tag, "{uri} {accept:?}");
        }
    }

    #[test]
    fn links_keep_a_language_that_was_chosen_by_hand() {
        assert_eq!(locale("/", None).link("/search"), "/search");
        assert_eq!(locale("/?lang=en", None).link("/search?q=x"), "/search?q=x&lang=en");
        assert_eq!(locale("/search?lang=en&q=x", None).switch(), "/search?q=x&lang=zh");
    }
}
