//! The files of the page, embedded.
//!
//! Owns their paths, types and tags. A tag is a digest of the content, so that a browser which has a file asks whether
//! it is still that one, and is answered without it. Knows no HTTP; the listener serves what [`Asset::find`] gives.

use ring::digest::{SHA256, digest};
use std::sync::OnceLock;

/// A file of the page.
pub(in crate::admin) struct Asset {
    /// Path of its URL.
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// An entry of [`ASSETS`]: a path, and a file of `src/admin/assets`.
macro_rules! asset {
    ($path:literal, $file:literal, $type:literal) => {
        Asset { path: $path, content_type: $type, bytes: include_bytes!(concat!("../assets/", $file)) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "index.html", "text/html; charset=utf-8"),
    asset!("/assets/style.css", "style.css", "text/css; charset=utf-8"),
    asset!("/assets/theme.js", "theme.js", "text/javascript; charset=utf-8"),
    asset!("/assets/app.js", "app.js", "text/javascript; charset=utf-8"),
    asset!("/assets/charts.js", "charts.js", "text/javascript; charset=utf-8"),
    asset!("/assets/format.js", "format.js", "text/javascript; charset=utf-8"),
    asset!("/assets/link.js", "link.js", "text/javascript; charset=utf-8"),
    asset!("/assets/series.js", "series.js", "text/javascript; charset=utf-8"),
    asset!("/assets/table.js", "table.js", "text/javascript; charset=utf-8"),
    asset!("/assets/watch.js", "watch.js", "text/javascript; charset=utf-8"),
    asset!("/assets/icon.svg", "icon.svg", "image/svg+xml"),
    asset!("/assets/uPlot.iife.min.js", "uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    asset!("/assets/uPlot.min.css", "uPlot.min.css", "text/css; charset=utf-8"),
    asset!("/assets/uPlot.LICENSE", "uPlot.LICENSE", "text/plain; charset=utf-8"),
];

impl Asset {
    /// The file of a path.
    pub fn find(path: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.path == path)
    }

    /// Its entity tag, quotes included.
    pub fn tag(&'static self) -> &'static str {
        static TAGS: OnceLock<Vec<String>> = OnceLock::new();
        let tags = TAGS.get_or_init(|| ASSETS.iter().map(|asset| tag_of(asset.bytes)).collect());
        let at = ASSETS.iter().position(|asset| asset.path == self.path);
        at.map_or("", |at| &tags[at])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tag_of(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&digest(&SHA256, bytes).as_ref()[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    /// SHA-256 of the files of npm's uplot 1.6.32: `npm pack uplot@1.6.32`, then its `dist` and `LICENSE`.
    const UPLOT: [(&str, &str); 3] = [
        ("/assets/uPlot.iife.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("/assets/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ("/assets/uPlot.LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
    ];

    fn text(asset: &Asset) -> &str {
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn the_chart_library_is_the_published_one() {
        for (path, sum) in UPLOT {
            assert_eq!(hex(digest(&SHA256, Asset::find(path).unwrap().bytes).as_ref()), sum, "{path}");
        }
        assert!(text(Asset::find("/assets/uPlot.iife.min.js").unwrap()).contains("uPlot (v1.6.32)"));
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/assets");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = ASSETS.iter().map(|asset| match asset.path.strip_prefix("/assets/") {
            Some(name) => name.to_owned(),
            None => "index.html".to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), files.collect());
    }

    #[test]
    fn the_page_names_only_files_that_are_served() {
        let mut names = 0;
        for asset in ASSETS.iter().filter(|asset| !asset.path.contains("uPlot")) {
            let text = text(asset);
            let quoted = text.split(['"', '\'']).skip(1).step_by(2);
            for name in quoted.filter(|name| name.starts_with("assets/") || name.starts_with("./")) {
                let path = format!("/assets/{}", name.trim_start_matches("assets/").trim_start_matches("./"));
                assert!(Asset::find(&path).is_some(), "{}: {name}", asset.path);
                names += 1;
            }
        }
        assert!(names > 10, "{names}");
    }

    #[test]
    fn the_page_needs_no_other_server_and_no_inline_code() {
        for asset in ASSETS.iter().filter(|asset| !asset.path.contains("uPlot")) {
            let text = text(asset).replace("http://www.w3.org/2000/svg", "");
            for forbidden in
                ["http://", "https://", "eval(", "innerHTML", "document.write", " onclick", "<style", " style=\""]
            {
                assert!(!text.contains(forbidden), "{}: {forbidden}", asset.path);
            }
        }
        let page = text(Asset::find("/").unwrap());
        assert!(page.split("<script").skip(1).all(|script| script.starts_with(" src=\"assets/")), "inline script");
    }

    #[test]
    fn tags_differ_and_stay() {
        let tags: BTreeSet<_> = ASSETS.iter().map(Asset::tag).collect();
        assert_eq!(tags.len(), ASSETS.len());
        assert!(tags.iter().all(|tag| tag.len() == 26 && tag.starts_with('"') && tag.ends_with('"')), "{tags:?}");
    }
}
