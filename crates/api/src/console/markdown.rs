//! Markdown as HTML that is safe to show: HTML in it is shown as text, and links lead to the web or to this console.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// `text` as HTML. Files that are kept here have addresses that begin with `files` in place of `/files`.
pub(super) fn to_html(text: &str, files: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(text, options).map(|event| safe(event, files));
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

fn safe<'a>(event: Event<'a>, files: &str) -> Event<'a> {
    if let Event::Html(raw) | Event::InlineHtml(raw) = event {
        Event::Text(raw)
    } else if let Event::Start(Tag::Link {
        link_type,
        dest_url,
        title,
        id,
    }) = event
    {
        Event::Start(Tag::Link {
            link_type,
            dest_url: harmless(dest_url, files),
            title,
            id,
        })
    } else if let Event::Start(Tag::Image {
        link_type,
        dest_url,
        title,
        id,
    }) = event
    {
        Event::Start(Tag::Image {
            link_type,
            dest_url: harmless(dest_url, files),
            title,
            id,
        })
    } else {
        event
    }
}

/// An address that runs nothing.
fn harmless<'a>(url: CowStr<'a>, files: &str) -> CowStr<'a> {
    if let Some(file) = url.strip_prefix("/files/") {
        return format!("{files}/{file}").into();
    }
    let leads_somewhere = url.starts_with("https://")
        || url.starts_with("http://")
        || (url.starts_with('/') && !url.starts_with("//"))
        || url.starts_with('#');
    if leads_somewhere {
        url
    } else {
        CowStr::Borrowed("#")
    }
}

#[cfg(test)]
mod tests {
    fn to_html(text: &str) -> String {
        super::to_html(text, "/files")
    }

    #[test]
    fn files_are_where_the_reader_may_read_them() {
        for text in [
            "![x](/files/ab)",
            "![x](</files/ab>)",
            "![x][1]\n\n[1]: /files/ab",
        ] {
            let html = super::to_html(text, "/help/files");
            assert!(html.contains("src=\"/help/files/ab\""), "{html}");
        }
    }

    #[test]
    fn markdown_becomes_html() {
        let html = to_html("## Grease\n\n*Not* too much, see [manual](https://example.com).\n");
        assert_eq!(
            html,
            "<h2>Grease</h2>\n<p><em>Not</em> too much, see <a href=\"https://example.com\">manual</a>.</p>\n"
        );
    }

    #[test]
    fn nothing_in_it_runs() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[x](javascript:alert(1))",
            "![x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](//evil.example)",
            "<javascript:alert(1)>",
        ] {
            let html = to_html(hostile);
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains("<img src=x"), "{html}");
            assert!(
                !html.contains("\"javascript:") && !html.contains("\"data:"),
                "{html}"
            );
            assert!(!html.contains("\"//"), "{html}");
        }
    }
}
