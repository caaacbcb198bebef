'use strict';
// The page of leukocls serve. Everything is text or canvas: nothing that comes from outside is ever read as HTML.

const $ = id => document.getElementById(id);
const el = (tag, props = {}, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids.filter(k => k !== null && k !== undefined)); return e; };
const fill = (text, values = {}) => text.replace(/\{(\w+)\}/g, (_, k) => values[k] ?? '');
const pause = seconds => new Promise(done => setTimeout(done, 1000*seconds));

let T = {}, models = [], limits = {}, model = null, turn = 0; // texts; turn: counts choices of a model, so that late answers to an earlier one are dropped
let cards = [], queue = [], busy = 0, lastSaid = 0;
const lines = 2, batch = 4, tries = 20; // requests at the same time, pictures in each, how often to try again when the server is busy
const settled = c => c.kind !== 'wait';

const sentence = s => s && s[0].toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? '' : '.'); // what the library says in passing, as a sentence of its own

function percent(p) {
  const shown = p >= .9995 && p < 1 ? '>99.9' : p > 0 && p < .0005 ? '<0.1' : new Intl.NumberFormat(T.locale, {minimumFractionDigits: 1, maximumFractionDigits: 1}).format(100*p);
  return fill(T.percent, {n: shown});
}

// --- the server

class Answer extends Error { constructor(status, message, wait) { super(message); this.status = status; this.wait = wait; } }

async function ask(path, files, words = {}) {
  const form = new FormData();
  for (const [k, v] of Object.entries(words)) form.append(k, v);
  for (const f of files) form.append('images', f, f.name);
  let r;
  try { r = await fetch(path, {method: 'POST', body: form, headers: {Accept: 'application/json'}}); }
  catch { throw new Answer(0, T.reload); }
  if (r.status === 401) { location.assign('login'); throw new Answer(401, T.login_title); }
  const said = await r.json().catch(() => ({}));
  if (!r.ok) throw new Answer(r.status, said.error || T.failed, Number(r.headers.get('Retry-After')) || 2);
  return said;
}

async function patiently(todo, tell, still) { // tries again when the server says that it is busy
  for (let n = 1; ; n++) {
    try { return await todo(); }
    catch (e) {
      if (![429, 503].includes(e.status) || n >= tries || !still()) throw e;
      const wait = Math.min(10, e.wait)*(.75 + Math.random()/2);
      tell(fill(T.busy, {seconds: Math.ceil(wait)})); await pause(wait);
    }
  }
}

// --- models

const titleOf = m => m.title && m.title !== m.name ? `${m.title} (${m.name})` : m.name;
function interval(m) {
  const a = m.accuracy;
  if (!a) return T.model_accuracy_none;
  const words = {value: percent(a.value), low: percent(a.low), high: percent(a.high), n: m.n && new Intl.NumberFormat(T.locale).format(m.n), split: m.split || ''};
  return fill(m.n ? T.model_accuracy_value : T.model_accuracy_plain, words);
}

function showModels() {
  $('models').replaceChildren(...models.map((m, i) => {
    const facts = el('dl'), fact = (k, v) => facts.append(el('dt', {textContent: k}), el('dd', {textContent: v || T.model_unknown}));
    fact(T.model_data, m.data); fact(T.model_accuracy, interval(m)); if (m.how) fact(T.model_how, m.how); fact(T.model_classes, m.classes.join(', ')); fact(T.model_created, m.created && new Date(m.created).toLocaleDateString(T.locale, {dateStyle: 'long'}));
    if (m.licence) fact(T.model_licence, m.licence);
    const input = el('input', {type: 'radio', name: 'model', value: m.id, checked: i === 0});
    input.setAttribute('aria-label', titleOf(m));
    input.addEventListener('change', () => choose(m));
    const notes = [...(m.notes || []), ...(m.gate ? [] : [T.model_gate_no]), ...(m.calibrated ? [] : [T.calibrated_no])];
    return el('label', {className: 'model'}, input, el('span', {className: 'name', textContent: titleOf(m)}), facts, ...notes.map(n => el('p', {className: 'note', textContent: n})));
  }));
  choose(models[0]);
}

function choose(m) {
  model = m; turn++;
  queue = []; cards.forEach(c => { c.result = null; wait(c); });
  show(); work();
}

// --- pictures

function add(files) {
  const fresh = [...files].map(file => newCard(file));
  cards.push(...fresh); $('cards').append(...fresh.map(c => c.el));
  fresh.forEach(wait); show(); work();
  if (fresh.length) $('results').focus({preventScroll: false});
}

function newCard(file) {
  const c = {file, kind: 'wait', url: URL.createObjectURL(file)};
  c.img = el('img', {alt: fill(T.picture_of, {name: file.name}), decoding: 'async', loading: 'lazy'});
  c.img.addEventListener('error', () => { c.blank = true; c.img.replaceWith(el('p', {className: 'none', textContent: T.no_preview})); });
  c.img.src = c.url;
  c.picture = el('figure', {className: 'picture'}, c.img);
  c.body = el('div', {className: 'body'}); c.foot = el('div', {className: 'foot'}); c.more = el('div', {className: 'more', hidden: true});
  const remove = el('button', {type: 'button', className: 'remove', textContent: '×'});
  remove.setAttribute('aria-label', fill(T.remove, {name: file.name}));
  remove.addEventListener('click', () => { const i = cards.indexOf(c), next = cards[i + 1] || cards[i - 1]; drop(c); show(); (next ? next.el.querySelector('.remove') : $('results')).focus(); });
  c.el = el('li', {className: 'card wait'}, el('div', {className: 'head'}, el('h3', {textContent: file.name}), remove), c.picture, c.body, c.foot, c.more);
  return c;
}

function drop(c) { cards = cards.filter(o => o !== c); queue = queue.filter(o => o !== c); URL.revokeObjectURL(c.url); (c.urls || []).forEach(u => URL.revokeObjectURL(u)); c.el.remove(); }

function set(c, kind, ...kids) { c.kind = kind; c.el.className = `card ${kind}`; c.foot.replaceChildren(); c.body.replaceChildren(...kids.filter(Boolean)); }
const verdict = text => el('p', {className: 'verdict', textContent: text});

function wait(c) {
  plainPicture(c); c.more.hidden = true; c.more.replaceChildren();
  if (c.file.size > limits.bytes - 4096) return set(c, 'broken', verdict(T.broken), el('p', {className: 'why', textContent: fill(T.too_large, {megabytes: Math.floor(limits.bytes/1e6)})}));
  set(c, 'wait', verdict(T.waiting)); queue.push(c);
}

function nextBatch() { // the first one alone, so that something is seen early
  const some = []; let bytes = 4096, most = cards.some(c => c.result) ? batch : 1;
  while (queue.length && some.length < Math.min(most, limits.files) && (!some.length || bytes + queue[0].file.size < limits.bytes/4)) { const c = queue.shift(); bytes += c.file.size; some.push(c); }
  return some;
}

async function work() {
  while (busy < lines && queue.length) { busy++; send(nextBatch(), turn).finally(() => { busy--; work(); }); }
}

async function send(some, mine) {
  const current = () => mine === turn && some.some(c => cards.includes(c));
  const each = todo => { if (mine === turn) some.filter(c => cards.includes(c)).forEach(todo); };
  each(c => set(c, 'wait', verdict(T.working)));
  try {
    const said = await patiently(() => ask('api/predict', some.map(c => c.file), {model: model.id}), text => each(c => set(c, 'wait', verdict(text))), current);
    each(c => result(c, said.results[some.indexOf(c)]));
    alarm();
  } catch (e) {
    if (!e.status) alarm(e.message);
    if (some.length > 1 && [400, 413].includes(e.status)) for (const c of some) await send([c], mine);
    else each(c => failed(c, e.message));
  }
  if (mine === turn) { show(); announce(some); }
}

function failed(c, why) {
  const again = el('button', {type: 'button', textContent: T.again});
  again.addEventListener('click', () => { wait(c); show(); work(); });
  set(c, 'failed', verdict(T.failed), el('p', {className: 'why', textContent: why})); c.foot.append(el('p', {className: 'buttons'}, again));
}

// --- results

function kindOf(r) { return r.error ? 'broken' : r.in_domain === false ? 'foreign' : r.refer ? 'unsure' : 'sure'; }
function wordsOf(r) { return {broken: T.broken, foreign: T.foreign, unsure: T.unsure, sure: fill(T.sure, {label: r.label})}[kindOf(r)]; }

function bars(r) {
  const list = el('dl', {className: 'bars'});
  list.setAttribute('aria-label', T.probabilities);
  for (const [label, p] of Object.entries(r.probabilities).sort((a, b) => b[1] - a[1])) {
    const fillBar = el('span', {className: 'fill'}), track = el('span', {className: 'track'}, fillBar);
    fillBar.style.width = `${100*p}%`; track.setAttribute('aria-hidden', 'true');
    const best = label === r.label && kindOf(r) === 'sure' ? ' best' : '';
    list.append(el('dt', {}, el('span', {className: `label${best}`, textContent: label}), track), el('dd', {className: best.trim(), textContent: percent(p)}));
  }
  return list;
}

function result(c, r) {
  c.result = r; c.model = model;
  const kind = kindOf(r), why = [];
  if (kind === 'broken') why.push(sentence(r.error));
  if (kind === 'unsure') why.push(r.classes && r.classes.length > 1 ? fill(T.unsure_could, {classes: r.classes.join(', ')}) : r.classes && !r.classes.length ? (r.why ? '' : T.unsure_none) : fill(T.unsure_best, {label: r.label, percent: percent(r.probabilities[r.label])}));
  if (r.why && kind !== 'broken') why.push(sentence(r.why));
  if (kind === 'foreign') why.push(T.foreign_more);
  const notes = r.warnings.length ? el('ul', {className: 'warnings'}, ...r.warnings.map(w => el('li', {textContent: sentence(w)}))) : null;
  set(c, kind, verdict(wordsOf(r)), ...why.filter(Boolean).map(w => el('p', {className: 'why', textContent: w})), notes, kind === 'sure' || kind === 'unsure' ? bars(r) : null);
  if (kind === 'sure' || kind === 'unsure') c.foot.append(buttons(c));
}

function buttons(c) {
  const row = el('p', {className: 'buttons'}), heat = el('button', {type: 'button', textContent: T.heat});
  heat.setAttribute('aria-pressed', 'false');
  heat.addEventListener('click', () => toggleHeat(c, heat));
  row.append(heat);
  if (model.nearest) {
    const near = el('button', {type: 'button', textContent: T.nearest});
    near.setAttribute('aria-expanded', 'false');
    near.addEventListener('click', () => toggleNearest(c, near));
    row.append(near);
  }
  return row;
}

async function fetched(c, button, words, path) { // an answer about one picture; the button says that it is coming
  const mine = turn, old = button.textContent; button.disabled = true; button.textContent = words;
  try { return await patiently(() => ask(path, [c.file], {model: c.model.id, ...(path === 'api/heat' ? {label: c.result.label} : {})}), text => { button.textContent = text; }, () => mine === turn); }
  catch (e) { if (mine === turn) alarm(e.message); return null; }
  finally { button.disabled = false; button.textContent = old; button.focus(); }
}

// --- what mattered

function plainPicture(c) { if (c.canvas) { c.canvas.replaceWith(c.blank ? el('p', {className: 'none', textContent: T.no_preview}) : c.img); c.canvas = null; } c.heat = null; }

async function toggleHeat(c, button) {
  const shown = Boolean(c.canvas);
  if (!shown) {
    c.heat = c.heat || await fetched(c, button, T.heat_wait, 'api/heat');
    if (!c.heat || !cards.includes(c)) return;
    draw(c); say(fill(T.heat_done, {name: c.file.name}));
  } else { const kept = c.heat; plainPicture(c); c.heat = kept; }
  button.setAttribute('aria-pressed', String(!shown)); button.textContent = shown ? T.heat : T.heat_hide;
  c.picture.querySelector('.small')?.remove();
  if (!shown) c.picture.append(el('figcaption', {className: 'small', textContent: T.heat_legend}));
}

function draw(c) {
  const values = c.heat.values, h = values.length, w = values[0].length, side = 480;
  const ratio = c.blank ? w/h : c.img.naturalWidth/c.img.naturalHeight || 1;
  const canvas = el('canvas', {width: Math.round(ratio >= 1 ? side : side*ratio), height: Math.round(ratio >= 1 ? side/ratio : side)});
  canvas.setAttribute('role', 'img'); canvas.setAttribute('aria-label', fill(T.heat_done, {name: c.file.name}));
  const small = el('canvas', {width: w, height: h}), pixels = new ImageData(w, h);
  values.forEach((row, y) => row.forEach((v, x) => pixels.data.set([230, 30 + 150*Math.max(0, 1 - 2*v), 20, 190*Math.min(1, v)], 4*(y*w + x))));
  small.getContext('2d').putImageData(pixels, 0, 0);
  const at = canvas.getContext('2d');
  if (c.blank) { at.fillStyle = '#888'; at.fillRect(0, 0, canvas.width, canvas.height); } else at.drawImage(c.img, 0, 0, canvas.width, canvas.height);
  at.imageSmoothingEnabled = true; at.imageSmoothingQuality = 'high'; at.drawImage(small, 0, 0, canvas.width, canvas.height);
  (c.blank ? c.picture.querySelector('.none') : c.img).replaceWith(canvas); c.canvas = canvas;
}

// --- similar known cells

async function toggleNearest(c, button) {
  if (c.more.hidden && !c.more.childElementCount) {
    const said = await fetched(c, button, T.nearest_wait, 'api/nearest');
    if (!said || !cards.includes(c)) return;
    c.urls = [];
    c.more.replaceChildren(el('ul', {className: 'nearest'}, ...said.nearest.map(n => {
      const url = URL.createObjectURL(new Blob([Uint8Array.from(atob(n.jpeg), b => b.charCodeAt(0))], {type: 'image/jpeg'})), words = fill(T.nearest_of, {label: n.label, percent: percent(n.similarity)});
      c.urls.push(url); return el('li', {}, el('img', {src: url, alt: ''}), words);
    })));
    say(fill(T.nearest_done, {n: said.nearest.length}));
  }
  c.more.hidden = !c.more.hidden; button.setAttribute('aria-expanded', String(!c.more.hidden));
}

// --- the page as a whole

function say(text) { $('live').textContent = text; }
function alarm(text) { $('alert').hidden = !text; $('alert').textContent = text || ''; }

function announce(some) {
  const done = cards.filter(settled).length, now = Date.now();
  if (some.length === 1 && cards.length === 1 && some[0].result) say(fill(T.announce, {name: some[0].file.name, verdict: wordsOf(some[0].result)}));
  else if (done === cards.length) say(`${progressText()}. ${summary()}`);
  else if (now - lastSaid > 3000) { lastSaid = now; say(progressText()); }
}

function progressText() { const done = cards.filter(settled).length; return cards.length === 1 && done ? T.progress_one : fill(T.progress, {done, all: cards.length}); }
function summary() { const n = k => cards.filter(c => c.kind === k).length; return fill(T.summary, {sure: n('sure'), unsure: n('unsure'), foreign: n('foreign'), broken: n('broken')}); }

function show() {
  const done = cards.length && cards.every(settled);
  $('none').hidden = cards.length > 0; $('bar').hidden = !cards.length;
  $('progress').textContent = done ? `${progressText()} · ${summary()}` : progressText();
  $('csv').disabled = $('print').disabled = !cards.some(c => c.result);
}

function csv() {
  const classes = model.classes, quote = v => { const s = String(v ?? ''), safe = /^[=+\-@\t\r]/.test(s) ? `'${s}` : s; return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe; };
  const rows = cards.filter(c => c.result).map(({file, result: r}) => [file.name, model.name, T[`verdict_${kindOf(r)}`], r.label, r.probabilities[r.label], r.classes && r.classes.join(' | '), r.error ? '' : r.refer, r.in_domain, r.why, r.warnings.join(' | '), r.error, ...classes.map(k => r.probabilities[k])]);
  const text = [[...T.csv_head.split(','), ...classes.map(k => `p_${k}`)], ...rows].map(row => row.map(quote).join(',')).join('\r\n');
  const url = URL.createObjectURL(new Blob(['\ufeff', text, '\r\n'], {type: 'text/csv'})), day = new Date().toISOString().slice(0, 10);
  const link = el('a', {href: url, download: `leukocls-${day}.csv`}); document.body.append(link); link.click(); link.remove(); setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function listen() {
  for (const id of ['files', 'camera']) $(id).addEventListener('change', e => { add(e.target.files); e.target.value = ''; });
  $('csv').addEventListener('click', csv); $('print').addEventListener('click', () => window.print());
  $('clear').addEventListener('click', () => { [...cards].forEach(drop); say(''); show(); $('files').focus(); });
  window.addEventListener('beforeprint', () => { $('printed').textContent = fill(T.printed, {date: new Date().toLocaleString(T.locale), model: `${titleOf(model)}, ${interval(model)}`}); document.querySelectorAll('img[loading]').forEach(i => { i.loading = 'eager'; }); });
  const over = on => e => { if ([...e.dataTransfer.types].includes('Files')) { e.preventDefault(); $('drop').classList.toggle('over', on); } };
  for (const kind of ['dragenter', 'dragover']) window.addEventListener(kind, over(true));
  window.addEventListener('dragleave', e => { if (!e.relatedTarget) $('drop').classList.remove('over'); });
  window.addEventListener('drop', e => { over(false)(e); if (e.dataTransfer.files.length) add(e.dataTransfer.files); });
}

async function start() {
  try {
    T = await (await fetch($('results').dataset.texts)).json();
    const r = await fetch('api/models', {headers: {Accept: 'application/json'}});
    if (r.status === 401) return location.assign('login');
    ({models, limits} = await r.json());
  } catch { return alarm(T.reload || $('alert').dataset.reload); }
  $('accepted').textContent = fill(T.accepted, {megapixels: limits.pixels/1e6, megabytes: Math.floor(limits.bytes/1e6)});
  showModels(); listen(); show();
}

start();
