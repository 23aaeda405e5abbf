//! The page around the sections: its head, and where it says what it is.

use maud::{DOCTYPE, Markup, html};

const STYLE: &str = include_str!("style.css");

/// Nothing is fetched and nothing runs, whatever a record would have smuggled in.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
pub(crate) fn page(title: &str, sections: &[Markup]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("memtwin ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                main { @for section in sections { (section) } }
                footer { "Written by memtwin " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    page.into_string()
}
