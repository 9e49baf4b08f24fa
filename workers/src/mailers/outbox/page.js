
'use strict';
(() => {
  const mails = JSON.parse(document.getElementById('mails').textContent);
  const links = [...document.querySelectorAll('#list a')];
  const main = document.getElementById('message');
  const search = document.getElementById('search');
  let tab = 'HTML';
  let images = false;

  // Text reaches the document only as text: nothing here writes markup.
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const time = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

  const shortTime = (iso) => {
    const at = new Date(iso);
    const today = at.toDateString() === new Date().toDateString();
    return at.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium' });
  };

  // A text's links, made to open.
  const linked = (text) => text.split(/(https?:\/\/[^\s<>"]+)/).map((part, index) =>
    index % 2 ? make('a', { href: part, target: '_blank', rel: 'noreferrer noopener' }, part) : part);

  const frame = (mail) => {
    const policy = `img-src data:${images ? ' http: https:' : ''}`;
    const element = make('iframe', { className: 'panel', title: 'The message as HTML' });
    // Its links open beside the page, for they are what one wants to try; nothing in it runs or is sent.
    element.setAttribute('sandbox', 'allow-popups allow-popups-to-escape-sandbox');
    element.srcdoc = `<meta http-equiv="Content-Security-Policy" content="${policy}"><base target="_blank">${mail.html}`;
    return element;
  };

  const panels = {
    HTML: (mail) => mail.html ? frame(mail) : make('p', { className: 'empty' }, 'This message has no HTML part.'),
    Text: (mail) => make('pre', { className: 'panel', tabIndex: 0 }, ...linked(mail.text)),
    Headers: (mail) => make('pre', { className: 'panel', tabIndex: 0 }, ...linked(mail.headers)),
  };

  const tabs = (mail, redraw) => {
    const list = make('div', { className: 'tabs', role: 'tablist' });
    const names = Object.keys(panels);
    names.forEach((name, index) => {
      const button = make('button', { type: 'button', id: `tab-${name}`, role: 'tab' }, name);
      button.setAttribute('aria-selected', String(name === tab));
      button.setAttribute('aria-controls', 'panel');
      button.tabIndex = name === tab ? 0 : -1;
      button.onclick = () => { tab = name; redraw(); document.getElementById(`tab-${name}`).focus(); };
      button.onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        tab = names[(index + step + names.length) % names.length];
        redraw();
        document.getElementById(`tab-${tab}`).focus();
      };
      list.append(button);
    });
    return list;
  };

  const imageSwitch = (redraw) => {
    const box = make('input', { type: 'checkbox', checked: images });
    box.onchange = () => { images = box.checked; redraw(); };
    return make('label', { hidden: tab !== 'HTML' }, box, ' Load remote images');
  };

  const facts = (mail) => make('dl', {}, ...[['From', mail.from], ['To', mail.to], ['Written', time(mail.time)]]
    .flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));

  const draw = (mail) => {
    const redraw = () => draw(mail);
    const back = make('a', { className: 'back', href: '#' }, 'Back to the list');
    const file = make('a', { href: `./${mail.file}` }, 'Open the file');
    const panel = make('div', { id: 'panel', role: 'tabpanel' }, panels[tab](mail));
    panel.setAttribute('aria-labelledby', `tab-${tab}`);
    main.replaceChildren(back, make('h2', {}, mail.subject), facts(mail),
      make('div', { className: 'bar' }, tabs(mail, redraw), imageSwitch(redraw), file),
      make('p', { className: 'note', hidden: !mail.cut }, 'This message is longer than what is shown here.'), panel);
  };

  const open = () => {
    const file = decodeURIComponent(location.hash.slice(1));
    const index = mails.findIndex((mail) => mail.file === file);
    document.body.classList.toggle('reading', index >= 0);
    links.forEach((link, at) => at === index
      ? link.setAttribute('aria-current', 'true') : link.removeAttribute('aria-current'));
    if (index < 0) {
      main.replaceChildren(make('p', { className: 'empty' },
        mails.length ? 'Select a message to read it.' : 'Messages will appear here: load this page again.'));
      return;
    }
    draw(mails[index]);
    links[index].scrollIntoView({ block: 'nearest' });
  };

  links.forEach((link, index) => {
    link.href = `#${encodeURIComponent(mails[index].file)}`;
    link.querySelector('time').textContent = shortTime(mails[index].time);
    link.onclick = () => main.focus();
  });
  search.hidden = false;
  search.oninput = () => {
    const wanted = search.value.toLowerCase();
    links.forEach((link, index) => {
      const { to, subject } = mails[index];
      link.parentElement.hidden = !`${to}\n${subject}`.toLowerCase().includes(wanted);
    });
  };
  addEventListener('hashchange', open);
  open();
})();
