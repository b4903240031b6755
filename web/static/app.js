// What the pages do beside htmx: clocks that tick, drafts that survive, and the state of the live stream.
(() => {
  'use strict';
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  // Clocks: <time class="ticking" data-since="UNIX SECONDS">
  const two = (number) => String(number).padStart(2, '0');
  const ahead = Number(document.body.dataset.now) - Date.now() / 1000;  // of this machine's clock, the exchange's
  const tick = () => {
    const now = Date.now() / 1000 + ahead;
    each('time.ticking', (clock) => {
      const passed = Math.max(0, Math.floor(now - Number(clock.dataset.since)));
      const hours = Math.floor(passed / 3600);
      const minutes = Math.floor(passed / 60) % 60;
      const text = hours ? `${hours}:${two(minutes)}:${two(passed % 60)}` : `${minutes}:${two(passed % 60)}`;
      if (clock.textContent !== text) clock.textContent = text;
    });
  };
  setInterval(tick, 1000);

  // Drafts: what was typed about a call stays in this tab until it is saved.
  const key = (form) => `draft:${form.dataset.draft}`;
  const restore = () => each('form[data-draft] textarea', (box) => {
    const kept = sessionStorage.getItem(key(box.form));
    if (kept && !box.value) box.value = kept;
  });
  document.addEventListener('input', (event) => {
    const form = event.target.form;
    if (event.target.tagName !== 'TEXTAREA' || !form?.dataset.draft) return;
    if (event.target.value) sessionStorage.setItem(key(form), event.target.value);
    else sessionStorage.removeItem(key(form));
  });
  document.addEventListener('submit', (event) => {
    if (event.target.dataset?.draft && !event.target.hasAttribute('hx-post')) sessionStorage.removeItem(key(event.target));
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && event.target.form?.dataset.draft) {
      event.preventDefault();
      event.target.form.requestSubmit();
    }
    if (event.key === '/' && !event.target.closest('input, textarea, select')) {
      const search = document.querySelector('[data-slash]');
      if (search) { event.preventDefault(); search.focus(); }
    }
    if (event.key === 'Escape') {
      const menu = document.querySelector('details.menu[open]');
      if (menu) { menu.open = false; menu.querySelector('summary').focus(); }
    }
  });

  // A line at the bottom that says what was done, for a few seconds.
  let fading = 0;
  const say = (text) => {
    const status = document.getElementById('status');
    if (!status) return;
    if (text) {
      const line = document.createElement('span');
      line.className = 'said';
      line.textContent = text;
      status.replaceChildren(line);
    }
    clearTimeout(fading);
    fading = setTimeout(() => status.replaceChildren(), 4000);
  };

  // The tab's title tells who calls while the page is in the background.
  const title = document.title;
  const announce = () => {
    const ringing = document.querySelector('.card.ringing, .toast .ring strong');
    const who = ringing?.dataset.who || ringing?.textContent;
    document.title = ringing ? `☎ ${who} · ${document.body.dataset.calling}` : title;
  };

  const refreshed = () => { tick(); restore(); announce(); };

  // The live stream: is it there? A silent one (a laptop that slept) is opened anew.
  const SILENCE = 40000;
  let connection = null;
  let heard = Date.now();
  const link = (state) => {
    const sign = document.getElementById('link');
    if (!sign || sign.dataset.state === state) return;
    sign.dataset.state = state;
    sign.className = `link is-${state}`;
    sign.textContent = sign.dataset[state];
  };
  document.addEventListener('htmx:sse:after:connection', (event) => {
    connection = event.detail.connection;
    heard = Date.now();
    link('live');
  });
  document.addEventListener('htmx:sse:after:message', () => { heard = Date.now(); link('live'); });
  document.addEventListener('htmx:sse:error', (event) => {
    link('lost');
    if (event.detail.status === 401) location.assign('/sign-in');
  });
  document.addEventListener('signed-out', () => location.assign('/sign-in'));
  document.addEventListener('stopping', () => link('lost'));
  document.addEventListener('superseded', () => {
    link('lost');
    connection = null;
    const elsewhere = document.getElementById('elsewhere');
    if (elsewhere) elsewhere.hidden = false;
  });
  setInterval(() => {
    if (connection && Date.now() - heard > SILENCE) {
      heard = Date.now();
      link('lost');
      connection.reader?.cancel();
    }
  }, 5000);

  document.addEventListener('htmx:after:swap', () => {
    refreshed();
    const said = document.querySelector('#status .said');
    if (said) say('');
    if (said?.dataset.written) sessionStorage.removeItem(`draft:${said.dataset.written}`);
  });
  document.addEventListener('htmx:response:error', (event) => {
    const status = event.detail.ctx.response.status;
    if (status !== 422 && status !== 401) say(document.body.dataset.failed);
  });
  document.addEventListener('htmx:error', (event) => {
    if (!event.detail.ctx?.sourceElement?.hasAttribute?.('data-feed')) say(document.body.dataset.failed);
  });

  // Small things: one more row of fields, questions before what cannot be undone, menus that close.
  each('[data-more]', (button) => {
    button.hidden = false;
    button.addEventListener('click', () => {
      const box = document.getElementById(button.dataset.more);
      const row = box.lastElementChild.cloneNode(true);
      const fields = row.matches('input') ? [row] : [...row.querySelectorAll('input, select')];
      for (const field of fields) {
        if (field.tagName === 'INPUT') field.value = '';
        field.setAttribute('aria-label', field.getAttribute('aria-label').replace(/\d+$/, box.children.length + 1));
      }
      box.append(row);
      fields.find((field) => field.tagName === 'INPUT').focus();
    });
  });
  document.addEventListener('click', (event) => {
    const asking = event.target.closest('[data-ask]');
    if (asking && !window.confirm(asking.dataset.ask)) event.preventDefault();
    each('details.menu[open]', (menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });

  // Tabs that do not fit are scrolled to: the one of this page can be seen.
  document.querySelector('.nav [aria-current]')?.scrollIntoView({block: 'nearest', inline: 'center'});

  refreshed();
})();
