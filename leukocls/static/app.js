'use strict';
// The page of leukocls serve. Everything is text or canvas: nothing that comes from outside is ever read
// as HTML.

// how many requests run at the same time, pictures in each, and how often to ask a server that is busy
const REQUESTS = 2;
const BATCH = 4;
const TRIES = 20;
// circles have so many colours, as `COLOURS` of leukocls.deploy.fields has; pixels of their labels, and the
// width of an overlay from which the labels have room for the class
const COLOURS = 8;
const LABEL_PIXELS = 13;
const ROOM_FOR_CLASSES = 480;
// seconds between two announcements of progress, for those who listen to the page
const ANNOUNCE_EVERY = 3;
// bytes that a form needs besides its pictures
const FORM_BYTES = 4096;

// what the server sent at the start; all words that a person reads are in T
let T = {};
let models = [];
let limits = {};

// what the person has chosen; `turn` counts choices, so that late answers to an earlier one are dropped
let model = null;
let mode = 'auto';
let turn = 0;
let cards = [];

// pictures that wait to be sent, requests under way, and when progress was last announced
let queue = [];
let running = 0;
let lastAnnounced = 0;

// which pictures the answer for one person was last asked of; '' if there is none
let personAsked = '';

// --- small tools

function byId(id) {
  return document.getElementById(id);
}

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

function paragraph(className, text) {
  return element('p', {className, textContent: text});
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// what the server sent in base64, as an address that the page may show; it ends with its card
function jpegUrl(card, letters) {
  const bytes = Uint8Array.from(atob(letters), character => character.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], {type: 'image/jpeg'}));
  card.urls.push(url);
  return url;
}

// puts values where a text says {key}
function fill(text, values = {}) {
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? '');
}

function pause(seconds) {
  return new Promise(done => setTimeout(done, 1000 * seconds));
}

// what the library says in passing, as a sentence of its own
function sentence(text) {
  if (!text) return text;
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
}

// a share is never rounded to "certain" or "impossible"
function percent(share) {
  return fill(T.percent, {n: percentNumber(share)});
}

function percentNumber(share) {
  if (share >= 0.9995 && share < 1) return '>99.9';
  if (share > 0 && share < 0.0005) return '<0.1';
  const oneDigit = {minimumFractionDigits: 1, maximumFractionDigits: 1};
  return new Intl.NumberFormat(T.locale, oneDigit).format(100 * share);
}

function isSettled(card) {
  return card.kind !== 'wait';
}

// --- the server

class ServerError extends Error {
  constructor(status, message, wait) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

async function ask(path, files, words = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(words)) form.append(name, value);
  for (const file of files) form.append('images', file, file.name);
  let response;
  try {
    response = await fetch(path, {method: 'POST', body: form, headers: {Accept: 'application/json'}});
  } catch {
    throw new ServerError(0, T.reload);
  }
  if (response.status === 401) {
    location.assign('login');
    throw new ServerError(401, T.login_title);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const wait = Number(response.headers.get('Retry-After')) || 2;
    throw new ServerError(response.status, answer.error || T.failed, wait);
  }
  return answer;
}

// asks again when the server says that it is busy, as long as `isWanted()`; `tell` shows the seconds
async function askPatiently(request, tell, isWanted) {
  for (let n = 1; ; n++) {
    try {
      return await request();
    } catch (error) {
      const isBusy = [429, 503].includes(error.status);
      if (!isBusy || n >= TRIES || !isWanted()) throw error;
      // a little by chance, so that many pages do not come back at the same moment
      const wait = Math.min(10, error.wait) * (0.75 + Math.random() / 2);
      tell(fill(T.busy, {seconds: Math.ceil(wait)}));
      await pause(wait);
    }
  }
}

// --- models

function titleOf(m) {
  return m.title && m.title !== m.name ? `${m.title} (${m.name})` : m.name;
}

function accuracyWords(m) {
  if (!m.accuracy) return T.model_accuracy_none;
  const words = {
    value: percent(m.accuracy.value),
    low: percent(m.accuracy.low),
    high: percent(m.accuracy.high),
    n: m.n && new Intl.NumberFormat(T.locale).format(m.n),
    split: m.split || '',
  };
  return fill(m.n ? T.model_accuracy_value : T.model_accuracy_plain, words);
}

function showModels() {
  byId('models').replaceChildren(...models.map(modelEntry));
  choose(models[0]);
}

function modelEntry(m, i) {
  const input = element('input', {type: 'radio', name: 'model', value: m.id, checked: i === 0});
  input.setAttribute('aria-label', titleOf(m));
  input.addEventListener('change', () => choose(m));
  const notes = [...(m.notes || [])];
  if (!m.gate) notes.push(T.model_gate_no);
  if (!m.calibrated) notes.push(T.calibrated_no);
  return element(
    'label',
    {className: 'model'},
    input,
    element('span', {className: 'name', textContent: titleOf(m)}),
    modelFacts(m),
    ...notes.map(note => paragraph('note', note)),
  );
}

function modelFacts(m) {
  const facts = element('dl');
  const add = (name, value) => {
    facts.append(
      element('dt', {textContent: name}),
      element('dd', {textContent: value || T.model_unknown}),
    );
  };
  add(T.model_data, m.data);
  if (m.pictures) add(T.model_pictures, m.pictures === 'cells' ? T.pictures_cells : T.pictures_fields);
  add(T.model_accuracy, accuracyWords(m));
  if (m.how) add(T.model_how, m.how);
  add(T.model_classes, m.classes.join(', '));
  const longDate = {dateStyle: 'long'};
  add(T.model_created, m.created && new Date(m.created).toLocaleDateString(T.locale, longDate));
  if (m.licence) add(T.model_licence, m.licence);
  return facts;
}

function choose(m) {
  model = m;
  startAnew();
}

function startAnew() {
  turn++;
  showWhatIsMeant();
  queue = [];
  cards.forEach(card => {
    card.result = null;
    enqueue(card);
  });
  showProgress();
  work();
}

// what the page says of pictures, as the chosen model learned from them
function showWhatIsMeant() {
  const words = {cells: T.drop_cells, fields: T.drop_fields}[model.pictures];
  byId('drop-words').textContent = words || T.drop;
  byId('mode-note').textContent = modeNote();
}

function modeNote() {
  if (mode === 'whole') return '';
  if (mode === 'field') return model.pictures === 'fields' ? T.mode_field_unlike : T.mode_field_note;
  return {cells: T.mode_auto_cells, fields: T.mode_auto_fields}[model.pictures] || T.mode_auto_unknown;
}

// the field `mode` of a request: '' takes every picture as a whole
function askedMode() {
  if (mode === 'auto') return model.pictures === 'cells' ? 'auto' : '';
  return mode === 'field' ? 'field' : '';
}

// --- pictures

function addFiles(files) {
  const fresh = [...files].map(newCard);
  cards.push(...fresh);
  byId('cards').append(...fresh.map(card => card.element));
  fresh.forEach(enqueue);
  showProgress();
  work();
  if (fresh.length) byId('results').focus({preventScroll: false});
}

function newCard(file) {
  const card = {file, kind: 'wait', url: URL.createObjectURL(file), urls: []};
  card.image = newImage(card);
  card.picture = element('figure', {className: 'picture'}, card.image);
  card.body = element('div', {className: 'body'});
  card.foot = element('div', {className: 'foot'});
  card.more = element('div', {className: 'more', hidden: true});
  const head = element(
    'div', {className: 'head'}, element('h3', {textContent: file.name}), removeButton(card),
  );
  card.element = element(
    'li', {className: 'card wait'}, head, card.picture, card.body, card.foot, card.more,
  );
  return card;
}

function newImage(card) {
  const alt = fill(T.picture_of, {name: card.file.name});
  const image = element('img', {alt, decoding: 'async', loading: 'lazy'});
  // a browser shows no TIFF, for example; the server reads it all the same
  image.addEventListener('error', () => {
    card.isBlank = true;
    image.replaceWith(paragraph('none', T.no_preview));
  });
  image.src = card.url;
  return image;
}

function removeButton(card) {
  const button = element('button', {type: 'button', className: 'remove', textContent: '×'});
  button.setAttribute('aria-label', fill(T.remove, {name: card.file.name}));
  button.addEventListener('click', () => {
    const i = cards.indexOf(card);
    const neighbour = cards[i + 1] || cards[i - 1];
    drop(card);
    showProgress();
    (neighbour ? neighbour.element.querySelector('.remove') : byId('results')).focus();
  });
  return button;
}

function drop(card) {
  cards = cards.filter(other => other !== card);
  queue = queue.filter(other => other !== card);
  URL.revokeObjectURL(card.url);
  forgetUrls(card);
  card.element.remove();
}

function forgetUrls(card) {
  card.urls.forEach(url => URL.revokeObjectURL(url));
  card.urls = [];
}

function setCard(card, kind, ...children) {
  card.kind = kind;
  card.element.className = `card ${kind}`;
  card.foot.replaceChildren();
  card.body.replaceChildren(...children.filter(Boolean));
}

function verdict(text) {
  return paragraph('verdict', text);
}

function enqueue(card) {
  showPlainPicture(card);
  card.field = null;
  card.more.hidden = true;
  card.more.replaceChildren();
  forgetUrls(card);
  if (card.file.size > limits.bytes - FORM_BYTES) {
    const why = fill(T.too_large, {megabytes: Math.floor(limits.bytes / 1e6)});
    setCard(card, 'broken', verdict(T.broken), paragraph('why', why));
    return;
  }
  setCard(card, 'wait', verdict(T.waiting));
  queue.push(card);
}

// the first picture goes alone, so that something is seen early; so does each that may be a field
function nextBatch() {
  const isAlone = askedMode() || !cards.some(card => card.result);
  const most = Math.min(isAlone ? 1 : BATCH, limits.files);
  const batch = [];
  let bytes = FORM_BYTES;
  while (queue.length && batch.length < most) {
    const isTooMuch = bytes + queue[0].file.size >= limits.bytes / 4;
    if (batch.length && isTooMuch) break;
    const card = queue.shift();
    bytes += card.file.size;
    batch.push(card);
  }
  return batch;
}

function work() {
  while (running < REQUESTS && queue.length) {
    running++;
    send(nextBatch(), turn).finally(() => {
      running--;
      work();
    });
  }
}

async function send(batch, ofTurn) {
  const isWanted = () => ofTurn === turn && batch.some(card => cards.includes(card));
  const forEachLeft = change => {
    if (ofTurn === turn) batch.filter(card => cards.includes(card)).forEach(change);
  };
  const tell = text => forEachLeft(card => setCard(card, 'wait', verdict(text)));
  tell(T.working);
  try {
    const files = batch.map(card => card.file);
    const answer = await askPatiently(() => askAbout(files), tell, isWanted);
    forEachLeft(card => showAnswer(card, answer, batch.indexOf(card)));
    alarm();
  } catch (error) {
    if (!error.status) alarm(error.message);
    // one picture may have spoiled the whole request
    if (batch.length > 1 && [400, 413].includes(error.status)) {
      for (const card of batch) await send([card], ofTurn);
    } else {
      forEachLeft(card => showFailure(card, error.message));
    }
  }
  if (ofTurn === turn) {
    showProgress();
    announce(batch);
  }
}

function askAbout(files) {
  const asked = askedMode();
  if (asked) return ask('api/field', files, {model: model.id, mode: asked});
  return ask('api/predict', files, {model: model.id});
}

function showAnswer(card, answer, i) {
  if (!answer.field) showResult(card, answer.results[i]);
  else if (answer.field.is_field) showField(card, answer.field);
  else showResult(card, answer.field.prediction);
}

function showFailure(card, why) {
  const again = element('button', {type: 'button', textContent: T.again});
  again.addEventListener('click', () => {
    enqueue(card);
    showProgress();
    work();
  });
  setCard(card, 'failed', verdict(T.failed), paragraph('why', why));
  card.foot.append(element('p', {className: 'buttons'}, again));
}

// --- results

function kindOf(result) {
  if (result.error) return 'broken';
  if (result.in_domain === false) return 'foreign';
  // a model that was never calibrated names no classes, and cannot say when to ask an expert
  return result.refer || !result.classes ? 'unsure' : 'sure';
}

function wordsOf(result) {
  const words = {
    broken: T.broken,
    foreign: T.foreign,
    unsure: T.unsure,
    sure: fill(T.sure, {label: result.label}),
  };
  return words[kindOf(result)];
}

function showResult(card, result) {
  card.result = result;
  card.model = model;
  const kind = kindOf(result);
  const isPredicted = kind === 'sure' || kind === 'unsure';
  setCard(
    card,
    kind,
    verdict(wordsOf(result)),
    ...reasonsFor(result).map(why => paragraph('why', why)),
    warningsOf(result),
    isPredicted ? bars(result) : null,
  );
  if (isPredicted) card.foot.append(buttons(card));
}

function reasonsFor(result) {
  const kind = kindOf(result);
  const reasons = [];
  if (kind === 'broken') reasons.push(sentence(result.error));
  if (kind === 'unsure') reasons.push(whyUnsure(result));
  if (kind !== 'broken') reasons.push(sentence(result.why));
  if (kind === 'foreign') reasons.push(T.foreign_more);
  return reasons.filter(Boolean);
}

function whyUnsure(result) {
  const {classes, label} = result;
  // a model that is not calibrated names no classes
  if (classes && classes.length > 1) return fill(T.unsure_could, {classes: classes.join(', ')});
  if (classes && !classes.length) return result.why ? '' : T.unsure_none;
  return fill(T.unsure_best, {label, percent: percent(result.probabilities[label])});
}

function warningsOf(result) {
  if (!result.warnings.length) return null;
  const items = result.warnings.map(warning => element('li', {textContent: sentence(warning)}));
  return element('ul', {className: 'warnings'}, ...items);
}

function bars(result) {
  const list = element('dl', {className: 'bars'});
  list.setAttribute('aria-label', T.probabilities);
  const descending = Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, p] of descending) {
    const isBest = label === result.label && kindOf(result) === 'sure';
    const bar = element('span', {className: 'fill'});
    bar.style.width = `${100 * p}%`;
    const track = element('span', {className: 'track'}, bar);
    track.setAttribute('aria-hidden', 'true');
    const name = element('span', {className: isBest ? 'label best' : 'label', textContent: label});
    list.append(
      element('dt', {}, name, track),
      element('dd', {className: isBest ? 'best' : '', textContent: percent(p)}),
    );
  }
  return list;
}

function buttons(card) {
  const heat = element('button', {type: 'button', textContent: T.heat});
  heat.setAttribute('aria-pressed', 'false');
  heat.addEventListener('click', () => toggleHeat(card, heat));
  const row = element('p', {className: 'buttons'}, heat);
  if (model.nearest) {
    const nearest = element('button', {type: 'button', textContent: T.nearest});
    nearest.setAttribute('aria-expanded', 'false');
    nearest.addEventListener('click', () => toggleNearest(card, nearest));
    row.append(nearest);
  }
  return row;
}

// an answer about one picture, or null; meanwhile the button says that it is coming
async function askFromButton(card, button, waitWords, path, words = {}) {
  const ofTurn = turn;
  const label = button.textContent;
  const setLabel = text => {
    button.textContent = text;
  };
  const request = () => ask(path, [card.file], {model: card.model.id, ...words});
  button.disabled = true;
  setLabel(waitWords);
  try {
    return await askPatiently(request, setLabel, () => ofTurn === turn);
  } catch (error) {
    if (ofTurn === turn) alarm(error.message);
    return null;
  } finally {
    button.disabled = false;
    setLabel(label);
    button.focus();
  }
}

// --- what mattered

async function toggleHeat(card, button) {
  const wasShown = Boolean(card.canvas);
  if (wasShown) {
    // kept, so that it need not be asked for again
    const heat = card.heat;
    showPlainPicture(card);
    card.heat = heat;
  } else {
    const label = card.result.label;
    card.heat = card.heat || (await askFromButton(card, button, T.heat_wait, 'api/heat', {label}));
    if (!card.heat || !cards.includes(card)) return;
    drawHeat(card);
    say(fill(T.heat_done, {name: card.file.name}));
  }
  button.setAttribute('aria-pressed', String(!wasShown));
  button.textContent = wasShown ? T.heat : T.heat_hide;
  card.picture.querySelector('.small')?.remove();
  if (!wasShown) {
    card.picture.append(element('figcaption', {className: 'small', textContent: T.heat_legend}));
  }
}

function showPlainPicture(card) {
  if (card.canvas) {
    card.canvas.replaceWith(card.isBlank ? paragraph('none', T.no_preview) : card.image);
    card.canvas = null;
  }
  card.heat = null;
}

function drawHeat(card) {
  const heat = heatCanvas(card.heat.values);
  const canvas = element('canvas', canvasSize(card, heat));
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', fill(T.heat_done, {name: card.file.name}));
  const context = canvas.getContext('2d');
  if (card.isBlank) {
    context.fillStyle = '#888';
    context.fillRect(0, 0, canvas.width, canvas.height);
  } else {
    context.drawImage(card.image, 0, 0, canvas.width, canvas.height);
  }
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  const shown = card.isBlank ? card.picture.querySelector('.none') : card.image;
  shown.replaceWith(canvas);
  card.canvas = canvas;
}

// in the picture's own proportions, 480 pixels along the longer side
function canvasSize(card, heat) {
  const side = 480;
  const {naturalWidth, naturalHeight} = card.image;
  const ratio = card.isBlank ? heat.width / heat.height : naturalWidth / naturalHeight || 1;
  return ratio >= 1
    ? {width: side, height: Math.round(side / ratio)}
    : {width: Math.round(side * ratio), height: side};
}

// one pixel for each number: from transparent through orange to red
function heatCanvas(values) {
  const height = values.length;
  const width = values[0].length;
  const pixels = new ImageData(width, height);
  values.forEach((row, y) => {
    row.forEach((value, x) => {
      const green = 30 + 150 * Math.max(0, 1 - 2 * value);
      const opacity = 190 * Math.min(1, value);
      pixels.data.set([230, green, 20, opacity], 4 * (y * width + x));
    });
  });
  const canvas = element('canvas', {width, height});
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

// --- similar known cells

async function toggleNearest(card, button) {
  const isUnknown = card.more.hidden && !card.more.childElementCount;
  if (isUnknown) {
    const answer = await askFromButton(card, button, T.nearest_wait, 'api/nearest');
    if (!answer || !cards.includes(card)) return;
    const items = answer.nearest.map(known => nearestItem(card, known));
    card.more.replaceChildren(element('ul', {className: 'nearest'}, ...items));
    say(fill(T.nearest_done, {n: answer.nearest.length}));
  }
  card.more.hidden = !card.more.hidden;
  button.setAttribute('aria-expanded', String(!card.more.hidden));
}

function nearestItem(card, known) {
  const url = jpegUrl(card, known.jpeg);
  const words = fill(T.nearest_of, {label: known.label, percent: percent(known.similarity)});
  return element('li', {}, element('img', {src: url, alt: ''}), words);
}

// --- a field

function showField(card, field) {
  card.field = field;
  card.model = model;
  const counted = field.cells.filter(cell => !cell.why_not);
  const refused = field.cells.filter(cell => cell.why_not && cell.prediction);
  const others = field.cells.filter(cell => cell.why_not && !cell.prediction);
  setCard(
    card,
    'field',
    verdict(fieldWords(field)),
    ...fieldNotes(counted, refused, others).map(words => paragraph('why', words)),
    warningsOf(field),
    overlay(card, field),
    field.differential.length ? countTable(field.differential, true) : null,
    cellTable(card, [...counted, ...refused], T.field_cells),
    folded(fill(T.field_others, {n: others.length}), cellTable(card, others, T.field_not_counted)),
  );
}

function fieldWords(field) {
  const counted = field.cells.filter(cell => !cell.why_not).length;
  if (!counted) return T.field_none;
  return fill(counted === 1 ? T.field_one : T.field_many, {n: counted});
}

function fieldNotes(counted, refused, others) {
  const unsure = counted.filter(cell => kindOf(cell.prediction) === 'unsure').length;
  const notes = [];
  if (unsure) notes.push(fill(T.field_unsure, {n: unsure}));
  if (refused.length) notes.push(fill(T.field_refused, {n: refused.length}));
  if (others.length) notes.push(fill(T.field_left_out, {n: others.length}));
  return notes;
}

function folded(title, content) {
  if (!content) return null;
  return element('details', {className: 'others'}, element('summary', {textContent: title}), content);
}

// the picture with a circle around each cell; all of it is one image for those who do not see it
function overlay(card, field) {
  const {width, height} = field;
  const picture = svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', class: 'overlay'});
  picture.append(svg('image', {href: jpegUrl(card, field.jpeg), width, height}));
  picture.setAttribute('aria-label', overlayWords(card, field));
  const labels = field.cells.map(cell => drawCircle(picture, card, cell));
  // the labels keep their size on the screen, however wide the picture is shown
  new ResizeObserver(() => sizeLabels(picture, labels, field)).observe(picture);
  return element('figure', {className: 'field-picture'}, picture);
}

function overlayWords(card, field) {
  const cells = field.cells.map(cell => `${cell.number} ${shortWords(cell)}`).join(', ');
  return fill(T.field_picture, {name: card.file.name, cells});
}

function drawCircle(picture, card, cell) {
  const place = {cx: cell.x, cy: cell.y, r: cell.radius};
  const label = svg('text', {class: 'label', 'text-anchor': 'middle'});
  picture.append(
    svg('circle', {...place, class: 'halo'}),
    svg('circle', {...place, class: `ring ${colourOf(card.model, cell)}`}),
    label,
  );
  return {label, cell};
}

function sizeLabels(picture, labels, field) {
  const shown = picture.clientWidth;
  if (!shown) return;
  const pixel = field.width / shown;
  for (const {label, cell} of labels) {
    label.textContent = shown < ROOM_FOR_CLASSES ? cell.number : `${cell.number} ${shortWords(cell)}`;
    label.setAttribute('font-size', LABEL_PIXELS * pixel);
    const half = Math.min(field.width / 2, label.getComputedTextLength() / 2 + 3 * pixel);
    label.setAttribute('x', Math.min(Math.max(cell.x, half), field.width - half));
    label.setAttribute('y', Math.max(cell.y - cell.radius - 5 * pixel, LABEL_PIXELS * pixel));
  }
}

function colourOf(ofModel, cell) {
  if (cell.why_not) return 'grey';
  return `c${ofModel.classes.indexOf(cell.prediction.label) % COLOURS}`;
}

function shortWords(cell) {
  if (!cell.why_not) return cell.prediction.label + (kindOf(cell.prediction) === 'unsure' ? '?' : '');
  return cell.prediction ? T.field_short_refused : kindWords(cell).toLowerCase();
}

function kindWords(cell) {
  const words = {
    smudge: T.kind_smudge,
    platelet: T.kind_platelet,
    'platelet clump': T.kind_clump,
    debris: T.kind_debris,
  };
  return words[cell.kind] || T.kind_cut_off;
}

function cellTable(card, cells, title) {
  if (!cells.length) return null;
  const head = [T.field_number, T.field_cell, T.field_says].map(words => {
    return element('th', {scope: 'col', textContent: words});
  });
  const caption = element('caption', {textContent: title});
  const rows = cells.map(cell => cellRow(card, cell));
  return element(
    'table', {className: 'cells'}, caption, element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...rows),
  );
}

function cellRow(card, cell) {
  const alt = fill(T.field_cell_picture, {n: cell.number});
  const image = element('img', {src: jpegUrl(card, cell.jpeg), alt, width: 64, height: 64});
  const number = element('th', {scope: 'row'}, String(cell.number), swatch(colourOf(card.model, cell)));
  return element('tr', {}, number, element('td', {}, image), element('td', {}, ...cellWords(cell)));
}

function swatch(colour) {
  return element('span', {className: `swatch ${colour}`});
}

function cellWords(cell) {
  const result = cell.prediction;
  if (!result) return [element('b', {textContent: kindWords(cell)})];
  const kind = kindOf(result);
  const {label} = result;
  const title = kind === 'sure' ? `${label}, ${percent(result.probabilities[label])}` : wordsOf(result);
  const reasons = [...reasonsFor(result), ...result.warnings.map(sentence)];
  if (kind === 'unsure') reasons.unshift(fill(T.field_counted_as, {label}));
  return [element('b', {textContent: title}), ...reasons.map(words => paragraph('small', words))];
}

// --- one answer for one person

// asks once all pictures are done, and again when they change
function showPerson() {
  const box = byId('patient');
  const isWanted = byId('person').checked && cards.length > 1;
  box.hidden = !isWanted;
  if (!isWanted) {
    personAsked = '';
    return;
  }
  if (!cards.every(isSettled)) {
    personAsked = '';
    setPerson('wait', paragraph('small', T.person_waiting));
    return;
  }
  const files = cards.map(card => card.file).filter(file => file.size <= limits.bytes - FORM_BYTES);
  const bytes = files.reduce((sum, file) => sum + file.size, FORM_BYTES);
  if (files.length > limits.person_files || bytes > limits.bytes) {
    const words = {files: limits.person_files, megabytes: Math.floor(limits.bytes / 1e6)};
    setPerson('failed', verdict(T.failed), paragraph('why', fill(T.person_too_many, words)));
    return;
  }
  const asked = `${turn} ${cards.map(card => card.url).join(' ')}`;
  if (asked !== personAsked) askPerson(files, asked);
}

async function askPerson(files, asked) {
  personAsked = asked;
  const tell = text => {
    if (asked === personAsked) setPerson('wait', verdict(text));
  };
  tell(T.working);
  try {
    const request = () => ask('api/patient', files, {model: model.id, ...personMode()});
    const answer = await askPatiently(request, tell, () => asked === personAsked);
    if (asked === personAsked) showPersonAnswer(answer.patient);
  } catch (error) {
    if (asked === personAsked) setPerson('failed', verdict(T.failed), paragraph('why', error.message));
  }
}

function personMode() {
  return askedMode() ? {mode: askedMode()} : {};
}

function setPerson(kind, ...children) {
  byId('patient').className = `patient ${kind}`;
  const title = element('h3', {textContent: T.person_title});
  byId('patient').replaceChildren(title, ...children.filter(Boolean));
}

function showPersonAnswer(answer) {
  const {label, probability, low, high, certain, differential, decisive} = answer;
  const best = label && {label, percent: percent(probability)};
  const words = certain ? fill(T.person_sure, best) : T.person_unsure;
  const lines = [];
  if (!certain) lines.push(sentence(answer.reason));
  if (!certain && label) lines.push(fill(T.person_best, best));
  if (certain && low !== null) lines.push(fill(T.person_interval, {low: percent(low), high: percent(high)}));
  const used = cards.some(card => card.field) ? T.person_used_cells : T.person_used;
  lines.push(fill(used, {cells: answer.cells, refused: answer.refused.length}));
  const names = decisive.slice(0, 3).map(cell => cell.name).filter(Boolean).join(', ');
  setPerson(
    certain ? 'sure' : 'unsure',
    verdict(words),
    ...lines.map(line => paragraph('why', line)),
    differential.length ? countTable(differential) : null,
    names ? paragraph('small', fill(T.person_decisive, {names})) : null,
  );
  say(fill(T.announce, {name: T.person_title, verdict: words}));
}

// with the colours of the circles, where there are circles
function countTable(differential, isColoured = false) {
  const head = [T.person_class, T.person_cells, T.person_share];
  const row = (tag, cells) => element('tr', {}, ...cells.map(text => element(tag, {textContent: text})));
  const rows = differential.map((one, i) => {
    const shares = {share: percent(one.share), low: percent(one.low), high: percent(one.high)};
    const cells = row('td', [one.class, one.count, fill(T.person_share_of, shares)]);
    if (isColoured) cells.firstChild.prepend(swatch(`c${i % COLOURS}`));
    return cells;
  });
  const caption = element('caption', {textContent: T.person_count});
  return element('table', {className: 'count'}, caption, row('th', head), ...rows);
}

// --- the page as a whole

// to those who listen to the page
function say(text) {
  byId('live').textContent = text;
}

function alarm(text) {
  byId('alert').hidden = !text;
  byId('alert').textContent = text || '';
}

function announce(batch) {
  const settled = cards.filter(isSettled).length;
  const [first] = batch;
  if (batch.length === 1 && cards.length === 1 && (first.result || first.field)) {
    const words = first.field ? fieldWords(first.field) : wordsOf(first.result);
    say(fill(T.announce, {name: first.file.name, verdict: words}));
  } else if (settled === cards.length) {
    say(`${progressText()}. ${summary()}`);
  } else if (Date.now() - lastAnnounced > 1000 * ANNOUNCE_EVERY) {
    lastAnnounced = Date.now();
    say(progressText());
  }
}

function progressText() {
  const done = cards.filter(isSettled).length;
  if (cards.length === 1 && done) return T.progress_one;
  return fill(T.progress, {done, all: cards.length});
}

function summary() {
  const count = kind => cards.filter(card => card.kind === kind).length;
  const counts = {
    sure: count('sure'),
    unsure: count('unsure'),
    foreign: count('foreign'),
    broken: count('broken'),
  };
  const fields = cards.filter(card => card.field);
  const cells = fields.flatMap(card => card.field.cells.filter(cell => !cell.why_not)).length;
  const ofFields = fields.length ? fill(T.summary_fields, {fields: fields.length, cells}) : '';
  return `${fill(T.summary, counts)}${ofFields}`;
}

function showProgress() {
  const isDone = cards.length && cards.every(isSettled);
  byId('none').hidden = cards.length > 0;
  byId('bar').hidden = !cards.length;
  byId('progress').textContent = isDone ? `${progressText()} · ${summary()}` : progressText();
  const hasResult = cards.some(card => card.result || card.field);
  byId('csv').disabled = !hasResult;
  byId('print').disabled = !hasResult;
  showPerson();
}

// --- the table to save

function saveCsv() {
  const header = [...T.csv_head.split(','), ...model.classes.map(label => `p_${label}`)];
  const rows = cards.flatMap(csvRows);
  const lines = [header, ...rows].map(row => row.map(csvCell).join(','));
  // the mark at the start tells spreadsheets that the text is UTF-8
  const blob = new Blob(['\ufeff', lines.join('\r\n'), '\r\n'], {type: 'text/csv'});
  const day = new Date().toISOString().slice(0, 10);
  download(blob, `leukocls-${day}.csv`);
}

function csvRows(card) {
  if (card.field) return card.field.cells.map(cell => csvRow(card, cell.prediction || NOT_ASKED, cell));
  return card.result ? [csvRow(card, card.result, {})] : [];
}

// a thing in a field that the model was not asked about
const NOT_ASKED = {label: '', probabilities: {}, classes: null, refer: '', why: '', warnings: [], error: ''};

function csvRow(card, result, cell) {
  return [
    card.file.name,
    model.name,
    result === NOT_ASKED ? T.verdict_left_out : T[`verdict_${kindOf(result)}`],
    result.label,
    result.probabilities[result.label],
    result.classes && result.classes.join(' | '),
    result.error ? '' : result.refer,
    result.in_domain,
    result === NOT_ASKED ? cell.why_not : result.why,
    result.warnings.join(' | '),
    result.error,
    cell.number,
    cell.x,
    cell.y,
    cell.radius,
    cell.kind,
    ...model.classes.map(label => result.probabilities[label]),
  ];
}

// the same rule as `spreadsheet_safe` of leukocls.core: what a spreadsheet would run, and what is a number
const FORMULA = /^(?:[\x00-\x20\x85\s]*[=+\-@＝＋－＠]|[\t\r\n])/;
const NUMBER = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/;

// a spreadsheet must not take a file's name for a formula
function csvCell(value) {
  const text = String(value ?? '');
  const harmless = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = element('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// --- what the person does

function listen() {
  for (const id of ['files', 'camera']) {
    byId(id).addEventListener('change', event => {
      addFiles(event.target.files);
      // the same file can be chosen again
      event.target.value = '';
    });
  }
  byId('person').addEventListener('change', showPerson);
  byId('mode').addEventListener('change', event => {
    mode = event.target.value;
    startAnew();
  });
  byId('csv').addEventListener('click', saveCsv);
  byId('print').addEventListener('click', () => window.print());
  byId('clear').addEventListener('click', removeAll);
  window.addEventListener('beforeprint', preparePrint);
  window.addEventListener('dragenter', event => markDrop(event, true));
  window.addEventListener('dragover', event => markDrop(event, true));
  window.addEventListener('dragleave', event => {
    if (!event.relatedTarget) byId('drop').classList.remove('over');
  });
  window.addEventListener('drop', event => {
    markDrop(event, false);
    if (event.dataTransfer.files.length) addFiles(event.dataTransfer.files);
  });
}

function removeAll() {
  [...cards].forEach(drop);
  say('');
  showProgress();
  byId('files').focus();
}

function preparePrint() {
  const date = new Date().toLocaleString(T.locale);
  const words = `${titleOf(model)}, ${accuracyWords(model)}`;
  byId('printed').textContent = fill(T.printed, {date, model: words});
  // pictures that nobody has scrolled to yet must be loaded for the paper
  document.querySelectorAll('img[loading]').forEach(image => {
    image.loading = 'eager';
  });
}

function markDrop(event, isOver) {
  if (![...event.dataTransfer.types].includes('Files')) return;
  event.preventDefault();
  byId('drop').classList.toggle('over', isOver);
}

async function start() {
  try {
    T = await (await fetch(byId('results').dataset.texts)).json();
    const response = await fetch('api/models', {headers: {Accept: 'application/json'}});
    if (response.status === 401) {
      location.assign('login');
      return;
    }
    ({models, limits} = await response.json());
  } catch {
    alarm(T.reload || byId('alert').dataset.reload);
    return;
  }
  const accepted = {megapixels: limits.pixels / 1e6, megabytes: Math.floor(limits.bytes / 1e6)};
  byId('accepted').textContent = fill(T.accepted, accepted);
  // some browsers keep what was chosen before the page was loaded again
  byId('mode').value = mode;
  showModels();
  listen();
  showProgress();
}

start();
