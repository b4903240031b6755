// First-party control on a page: it hears of its own extension's calls only, and carries them from this machine to the
// CRM, posted and signed as a hook's are. What `hookline agent` does as a program (pbxcore/workstation.py).
(() => {
  'use strict';
  const page = document.getElementById('workstation');
  if (!page) return;
  const { extension, post: target } = page.dataset;
  const words = JSON.parse(page.dataset.words);
  const RETRY = [1000, 2000, 5000, 15000];
  const SILENCE = 60000;      // the exchange pings more often than that
  const REMEMBERED = 500;     // what was told
  const SHOWN = 50;
  const PATIENCE = 30000;     // for one answer of the CRM
  const MOST = 65536;         // characters of it that are read
  const ahead = Number(document.body.dataset.now) * 1000 - Date.now();  // of this machine's clock, the exchange's
  const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });

  // What is seen: how the line is, and what was told.
  const state = (name) => {
    const link = document.getElementById('link');
    const line = { waiting: 'live', lost: 'lost' }[name];   // there is none while nothing is carried
    link.className = line ? `link is-${line}` : 'link';
    link.textContent = line ? link.dataset[line] : '';
    page.dataset.state = name;
    document.getElementById('carrying').textContent = words[name];
  };
  const say = (what, call, { name = '', text = '', fault = '' } = {}) => {
    const part = (tag, written, css = '') => Object.assign(document.createElement(tag), { textContent: written, className: css });
    const line = document.createElement('li');
    const time = part('time', new Date(Date.now() + ahead).toLocaleTimeString(document.documentElement.lang), 'muted');
    line.append(time, part('span', `${words[what]}: ${call.caller || words.withheld} → ${call.called}${name ? `: ${name}` : ''}`));
    if (text) line.append(part('span', text, 'muted'));
    if (fault) line.append(part('span', `${words.untold}: ${fault}`, 'error'));
    const list = document.getElementById('told');
    list.prepend(line);
    while (list.children.length > SHOWN) list.lastElementChild.remove();
  };

  // The secret becomes keys that this browser signs with and that no script can read out again.
  const keyring = (work) => new Promise((resolve, reject) => {
    const opening = indexedDB.open('hookline-workstation', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const asked = work(opening.result.transaction('keys', 'readwrite').objectStore('keys'));
      asked.onsuccess = () => { opening.result.close(); resolve(asked.result); };
      asked.onerror = () => reject(asked.error);
    };
  });
  const keysOf = (secret) => Promise.all(secret.trim().split(/\s+/).map((word) => {
    const raw = Uint8Array.from(atob(word.replace(/^whsec_/, '')), (one) => one.charCodeAt(0));
    if (raw.length < 24 || raw.length > 64) throw new RangeError('24 to 64 bytes');
    return crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  }));

  // What a stranger wrote as his name ends up in a CRM: as crmhooks/text.py cleans it.
  const BREAKS = /[\t\n\v\f\r\x85\u2028\u2029]+/gu;
  const UNSEEN = new RegExp('[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f'
    + '\\ufeff\\ufff0-\\ufffb\\ufffe\\uffff\\ud800-\\udfff\\u{e0000}-\\u{e0fff}]+', 'gu');
  const oneLine = (text) => text.replace(BREAKS, ' ').replace(UNSEEN, '').replace(/[ \xa0\u3000]{2,}/gu, ' ').trim();
  const paragraphs = (text) => text.replace(/\r\n?|[\v\f\x85\u2028\u2029]/gu, '\n').split(/([\n\t])/u)
    .map((part) => (part === '\n' || part === '\t' ? part : part.replace(UNSEEN, ''))).join('').trim();
  const cleaned = (value, name = '') => {
    if (typeof value === 'string') return name === 'instructions' ? paragraphs(value) : oneLine(value);
    if (Array.isArray(value)) return value.map((one) => cleaned(one));
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [oneLine(key), cleaned(one, key)]));
  };

  // Standard Webhooks 1.0; an answer that is lost on the way is asked for once more, under the same id.
  const post = async (keys, kind, call) => {
    const at = new Date(Date.now() + ahead);
    const id = `${call.call_id}.${kind.split('.')[1]}.${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
    const body = JSON.stringify({ type: kind, timestamp: at.toISOString(), data: cleaned(call) });
    const stamp = String(Math.floor(at / 1000));
    const signed = new TextEncoder().encode(`${id}.${stamp}.${body}`);
    const signatures = await Promise.all(keys.map((key) => crypto.subtle.sign('HMAC', key, signed)));
    const signature = signatures.map((one) => `v1,${btoa(String.fromCharCode(...new Uint8Array(one)))}`).join(' ');
    const headers = {
      accept: 'application/json', 'content-type': 'application/json',
      'webhook-id': id, 'webhook-timestamp': stamp, 'webhook-signature': signature,
    };
    const send = () => fetch(target, {
      method: 'POST', headers, body, credentials: 'omit', redirect: 'error', cache: 'no-store', mode: 'cors',
      signal: AbortSignal.timeout(PATIENCE),
    });
    let answer;
    try {
      answer = await send().catch((error) => { if (error instanceof TypeError) return send(); throw error; });
    } catch (error) {
      throw new Error(error instanceof TypeError ? words.unreached : words.late);
    }
    if (!answer.ok) throw new Error(`${words.answered_status} ${answer.status}`);
    return answer;
  };
  const tell = async (keys, what, kind, call) => {
    try {
      const answer = await post(keys, kind, call);
      const text = kind === 'call.incoming' ? (await answer.text()).slice(0, MOST) : '';
      let said = {};
      try { said = JSON.parse(text || '{}') ?? {}; } catch { throw new Error(words.no_json); }
      const known = (name, clean) => (typeof said[name] === 'string' ? clean(said[name]) : '');
      say(what, call, { name: known('display_name', oneLine), text: known('instructions', paragraphs) });
    } catch (error) {
      say(what, call, { fault: error.message });
    }
  };

  // Each thing of a call once, and of one call one after the other.
  const told = new Map();
  const first = (call, what) => {
    const key = `${what} ${call}`;
    if (told.has(key)) return false;
    told.set(key, { call, what });
    if (told.size > REMEMBERED) told.delete(told.keys().next().value);
    return true;
  };
  const turns = new Map();
  const inTurn = (call, work) => {
    const turn = (turns.get(call) ?? Promise.resolve()).then(work)
      .catch((error) => say('waiting_line', { caller: '', called: call }, { fault: error.message }))
      .finally(() => { if (turns.get(call) === turn) turns.delete(call); });
    turns.set(call, turn);
  };
  const ask = async (keys, id, what, kind) => {
    const answer = await fetch(`/api/v1/calls/${encodeURIComponent(id)}`);
    if (answer.status === 404) return;      // over, and forgotten: its end is told
    if (!answer.ok) throw new Error(`${words.exchange_status} ${answer.status}`);
    const { call } = await answer.json();
    await tell(keys, what, kind, kind === 'call.incoming' ? {
      call_id: call.call_id, caller: call.caller, called: call.called, direction: call.direction,
      received_at: call.arrived_at, caller_name: call.caller_name, trunk: call.trunk, extension: call.extension, headers: {},
    } : call);
  };
  const onEvent = (keys, name, data) => {
    const id = data.call_id;
    if ((name === 'Delivered' || name === 'Established') && data.party === extension) {
      if (first(id, 'rings')) inTurn(id, () => ask(keys, id, 'rings', 'call.incoming'));   // one that answers by itself never rang
      if (name === 'Established' && first(id, 'answered')) inTurn(id, () => ask(keys, id, 'answered', 'call.answered'));
    } else if (name === 'ConnectionCleared' && first(id, 'ended')) {
      inTurn(id, () => tell(keys, 'ended', 'call.ended', data.call));
    } else if (name === 'refresh') {        // some events are lost: what rang here and is over by now is told of all the same
      const live = new Set(data.calls.map((call) => call.call_id));
      for (const { call, what } of [...told.values()]) {
        if (what === 'rings' && !live.has(call) && first(call, 'ended')) inTurn(call, () => ask(keys, call, 'ended', 'call.ended'));
      }
    }
  };

  // The stream of events; it goes on after what was heard last.
  let last = '';
  const listen = async (keys) => {
    const silent = new AbortController();
    let clock = 0;
    const heard = () => { clearTimeout(clock); clock = setTimeout(() => silent.abort(), SILENCE); };
    heard();
    try {
      const answer = await fetch('/api/v1/events?own=true', { headers: last ? { 'Last-Event-ID': last } : {}, signal: silent.signal });
      if (answer.status === 401) { location.assign('/sign-in?next=%2Fworkstation'); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      state('waiting');
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      let name = '';
      let data = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        heard();
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        for (const ended of lines) {
          const line = ended.replace(/\r$/, '');
          const at = line.indexOf(':');
          const said = line.slice(at + 1).replace(/^ /, '');
          if (line.startsWith('event:')) name = said;
          else if (line.startsWith('data:')) data += said;
          else if (line.startsWith('id:')) last = said;
          else if (!line) {
            if (name && data) onEvent(keys, name, JSON.parse(data));
            name = data = '';
          }
        }
      }
    } finally {
      clearTimeout(clock);
    }
  };
  const carry = async (keys) => {
    for (let failures = 0; ; failures += 1) {
      const began = Date.now();
      try { await listen(keys); } catch { /* said by the state */ }
      if (Date.now() - began > SILENCE) failures = 0;
      state('lost');
      await wait(RETRY[Math.min(failures, RETRY.length - 1)]);
    }
  };

  // One tab carries; the others wait until it is closed.
  const begin = (keys) => {
    document.getElementById('secret').hidden = true;
    document.getElementById('forget').hidden = false;
    state('elsewhere');
    navigator.locks.request(`hookline-workstation ${extension}`, () => carry(keys));
  };
  const start = async () => {
    if (!window.isSecureContext) { state('insecure'); return; }
    const kept = await keyring((keys) => keys.get(target));
    if (kept) begin(kept);
    else { state('keyless'); document.getElementById('secret').hidden = false; }
  };
  document.getElementById('secret').addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = document.getElementById('f-secret');
    const wrong = document.getElementById('f-secret-says');
    try {
      const keys = await keysOf(field.value);
      await keyring((store) => store.put(keys, target));
      field.value = '';
      begin(keys);
    } catch {
      field.setAttribute('aria-invalid', 'true');
      wrong.className = 'error';
      wrong.textContent = words.bad_secret;
      field.focus();
    }
  });
  document.getElementById('forget').addEventListener('click', async () => {
    await keyring((keys) => keys.delete(target));
    location.reload();
  });
  start();
})();
