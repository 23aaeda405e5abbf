//! Pictures: SVG in the page, drawn by pure functions, each with a text for who does not see it.

pub(crate) mod bars;
pub(crate) mod cells;
pub(crate) mod spans;

use maud::{Markup, html};

/// How wide a picture is, in its own units. It is shown as wide as there is room.
pub(crate) const WIDTH: f64 = 480.0;

/// A picture's frame.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// The id of its parts' names, of which there is one in the page.
    pub(crate) id: String,
    /// What it shows.
    pub(crate) title: String,
    /// The same in words and numbers.
    pub(crate) description: String,
    /// How high it is, in units of [`WIDTH`].
    pub(crate) height: f64,
}

impl Picture {
    /// The picture with this in it, and a line above it.
    pub(crate) fn draw(&self, body: &Markup) -> Markup {
        let Self { id, title, description, height } = self;
        let (title_id, description_id) = (format!("{id}-t"), format!("{id}-d"));
        html! {
            figure {
                figcaption { (title) }
                svg #(id) role="img" viewBox=(format!("0 0 {WIDTH} {height}"))
                    aria-labelledby=(format!("{title_id} {description_id}")) {
                    title id=(title_id) { (title) }
                    desc id=(description_id) { (description) }
                    (body)
                }
            }
        }
    }
}

/// A legend: a patch of each class, and what it stands for.
pub(crate) fn legend(entries: &[(&str, &str)]) -> Markup {
    html! {
        p.legend.soft {
            @for (class, word) in entries { span { span.key.(*class) {} (*word) } " " }
        }
    }
}

/// A length as an attribute has it: one digit behind the point is finer than any screen.
pub(crate) fn length(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_words() {
        let picture = Picture {
            id: "a".to_owned(),
            title: "Rounds <1>".to_owned(),
            description: "two".to_owned(),
            height: 10.0,
        };
        let text = picture.draw(&html! { path d="M0 0" {} }).into_string();
        assert!(
            text.contains(r#"role="img""#) && text.contains(r#"viewBox="0 0 480 10""#),
            "{text}"
        );
        assert!(text.contains(r#"<title id="a-t">Rounds &lt;1&gt;</title>"#), "{text}");
        assert!(text.contains(r#"aria-labelledby="a-t a-d""#), "{text}");
    }

    #[test]
    fn a_length_is_short() {
        assert_eq!([0.0, 7.5, 12.04, 100.0].map(length), ["0", "7.5", "12", "100"]);
    }
}
