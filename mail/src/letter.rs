//! Letters of our own: a few words and one link, as text and as HTML that every mail program shows.

use crate::Rendered;
use html_escape::{encode_double_quoted_attribute, encode_text};

/// Plain text; escaped where it becomes HTML.
pub(crate) struct Words<'a> {
    pub subject: String,
    pub before: String,
    pub button: &'a str,
    /// What else there is to know, and what to do who did not expect this mail.
    pub after: [&'a str; 2],
}

/// `link` is visible ASCII.
pub(crate) fn write(link: &str, words: &Words<'_>) -> Rendered {
    let Words { subject, before, button, after: [first, second] } = words;
    let text = format!("Hello,\n\n{before}\n\n{button}:\n{link}\n\n{first}\n{second}\n");
    let (href, shown) = (encode_double_quoted_attribute(link), encode_text(link));
    let (title, before) = (encode_text(subject), encode_text(before));
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title></head>\
         <body style=\"margin:0;padding:0;background-color:#ffffff\">\
         <div style=\"margin:0 auto;padding:32px 20px;max-width:560px;font-family:Arial,Helvetica,sans-serif;\
         font-size:16px;line-height:24px;color:#222222\">\
         <p style=\"margin:0 0 16px\">Hello,</p><p style=\"margin:0 0 24px\">{before}</p>\
         <p style=\"margin:0 0 24px\"><a href=\"{href}\" style=\"display:inline-block;padding:12px 24px;\
         border-radius:6px;background-color:#1f4fd8;color:#ffffff;font-weight:bold;text-decoration:none\">{button}</a></p>\
         <p style=\"margin:0 0 8px\">{first}</p><p style=\"margin:0 0 24px\">{second}</p>\
         <p style=\"margin:0;font-size:13px;line-height:20px;color:#595959\">If the button does not work, copy this address \
         into your browser:<br><span style=\"word-break:break-all\">{shown}</span></p></div></body></html>"
    );
    Rendered { subject: subject.clone(), html, text }
}
