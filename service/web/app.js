// One search at a time: a picture goes to POST /search, and each hit can be the next picture.
// The browser's history holds keys only; what they stand for lives in `visits` and ends with the page.

const $ = id => document.getElementById(id);
const HOME = {};
const LOOK_AGAIN_MS = 2000;
const HEADINGS = { 404: 'Not there any more', 413: 'Too large', 415: 'Not a picture', 429: 'Very busy just now', 503: 'Not ready' };

const visits = new Map();
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let current = HOME;
let running = new AbortController();
let waiting = null;
let limits = {};
let reason = '';


// ---- asking the server

class Problem extends Error {
  constructor({ status, detail, request_id }) {
    super(detail);
    Object.assign(this, { status, id: request_id });
  }
}

async function ask(path, options) {
  const answer = await fetch(path, options).catch(cause => {
    if (cause.name === 'AbortError') throw cause;
    throw new Problem({ detail: 'The server did not answer. Check that it runs, then try again.' });
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem({ detail: `The server answered ${answer.status} ${answer.statusText}.`, ...said, status: answer.status });
}

async function isReady() {
  try {
    await ask('/readyz', { cache: 'no-store' });
    return true;
  } catch (problem) {
    // A screen reader says every change of this line: the same reason is said once.
    if (problem.message !== reason) $('waiting-for').replaceChildren(...prose(reason = problem.message));
    return false;
  }
}

// True when the page had to wait and nobody has moved on meanwhile.
async function waitUntilReady() {
  if (await isReady()) return false;
  enter('waiting');
  await (waiting ??= lookAgain().finally(() => { waiting = null; }));
  return document.body.dataset.state === 'waiting';
}

async function lookAgain() {
  do await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS));
  while (!await isReady());
}

async function learnFacts() {
  const { index, model, limits: told } = await (await ask('/info')).json();
  HOME.answer = { index, model };
  limits = told ?? {};
  if (current === HOME) showFacts(HOME.answer);
  for (const choice of $('amount').elements) choice.disabled = choice.value > limits.max_k;
}


// ---- searching

function visit(place, from) {
  const key = `${performance.timeOrigin}/${visits.size}`;
  visits.set(key, place);
  history.pushState(key, '');
  show(place, from);
}

function searchFile(file, name) {
  if (!file) return toast('There was no picture in that. Save it as a file first, or copy the picture itself and paste it.');
  visit({ file, picture: URL.createObjectURL(file), caption: name ?? file.name, source: 'Your picture', notes: bytes(file.size) });
}

function searchHit(hit, from) {
  visit({
    hit,
    picture: `${hit.image_url}?size=small`,
    sharper: `${hit.image_url}?size=medium`,
    source: 'From the collection',
    ...describe(hit),
  }, from);
}

async function search(visited) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const k = Math.min($('amount').querySelector(':checked').value, limits.max_k ?? Infinity);
  if (visited.answer && visited.k === k) return showHits(visited);
  showVerdict(visited.answer);
  enter('searching');
  try {
    visited.file ??= await (await ask(visited.hit.image_url, { signal })).blob();
    if (visited.file.size > limits.max_body_bytes) {
      throw new Problem({
        status: 413,
        detail: `This file has ${bytes(visited.file.size)}; the server takes ${bytes(limits.max_body_bytes)} at most.`,
      });
    }
    const body = new FormData();
    body.append('image', visited.file, visited.caption);
    const answer = await (await ask(`/search?k=${k}`, { method: 'POST', body, signal })).json();
    if (signal.aborted) return;
    Object.assign(visited, { answer, k });
    showHits(visited);
  } catch (problem) {
    if (signal.aborted) return;
    if (problem.status === 503 && await waitUntilReady()) return void show(current);
    if (!signal.aborted) showProblem(problem);
  }
}


// ---- showing

function enter(state) {
  document.body.dataset.state = state;
  for (const part of document.querySelectorAll('[data-in]')) part.hidden = !part.dataset.in.split(' ').includes(state);
  $('hits').ariaBusy = state === 'searching';
  if (state === 'searching' && !$('hits').childElementCount) $('hits').replaceChildren(...Array.from({ length: 12 }, skeleton));
}

async function show(place, from) {
  current = place;
  running.abort();
  await glide(from, () => {
    document.title = place.caption ? `${place.caption} · Lookalike` : 'Lookalike';
    if (place === HOME) return showHome();
    showQuery(place);
    enter('searching');
    $('heading').focus({ preventScroll: true });
    if (from) scrollTo(0, 0);
  });
  if (current !== place) return;
  if (place !== HOME) search(place);
}

// The picture that was picked moves to the place of the query, where the browser can do that.
async function glide(from, change) {
  if (!from || !document.startViewTransition || calm.matches) return change();
  const name = (element, value) => { element.style.viewTransitionName = value; };
  name(from, 'query');
  const transition = document.startViewTransition(() => {
    name(from, '');
    name($('query-print'), 'query');
    change();
  });
  transition.ready.catch(() => {});
  transition.finished.catch(() => {}).finally(() => name($('query-print'), ''));
  await transition.updateCallbackDone;
}

function showHome() {
  $('hits').replaceChildren();
  showFacts(HOME.answer ?? {});
  enter('empty');
}

function showQuery({ picture, sharper, caption, source, notes }) {
  const image = $('query-picture');
  image.src = picture;
  image.alt = caption;
  $('query-print').classList.remove('blank');
  $('query-source').textContent = source;
  $('query-caption').textContent = caption;
  $('query-notes').textContent = notes;
  if (!sharper) return;
  const better = new Image();
  better.src = sharper;
  better.decode().then(() => { if (current.sharper === sharper) image.src = sharper; }, () => {});
}

function showHits({ answer }) {
  const { results } = answer;
  enter('hits');
  const heading = showVerdict(answer);
  $('hits').replaceChildren(...results.map(tile));
  showFacts(answer);
  const [best] = results;
  if (!best) return speak(`${heading}.`);
  const found = `${describe(best).caption}, ${worth(best)}.`;
  speak(isStrange(answer)
    ? `${heading}. ${results.length} nearest images all the same, first: ${found}`
    : `${results.length} results. ${heading}: ${found}`);
}

// There are hits, and the server holds that even the best shows something else.
function isStrange(answer) {
  return answer?.similar === false && answer.results.length > 0;
}

// Gives the heading. Before the first answer it hopes for the best.
function showVerdict(answer) {
  const strange = isStrange(answer);
  $('hits').classList.toggle('strange', strange);
  $('verdict').hidden = !strange;
  return $('heading').textContent = strange ? 'Nothing similar here' : answer?.results.length === 0 ? 'No results' : 'Most alike';
}

// For people: a probability where the server knows one, otherwise the cosine.
function worth({ confidence, score }) {
  if (confidence == null) return score.toFixed(3);
  // Neither is ever certain.
  const percent = confidence < .005 ? '<\u00a01' : confidence >= .995 ? '>\u00a099' : Math.round(100 * confidence);
  return `${percent}\u00a0% same\u00a0kind`;
}

function tile(hit, place) {
  const item = $('hit').content.cloneNode(true).firstElementChild;
  const { caption, notes } = describe(hit);
  const [button, image] = [item.querySelector('button'), item.querySelector('img')];
  image.src = `${hit.image_url}?size=small`;
  item.querySelector('.caption').textContent = caption;
  item.querySelector('.fine').textContent = notes;
  item.querySelector('.score').textContent = worth(hit);
  item.style.setProperty('--score', Math.min(1, Math.max(0, hit.confidence ?? hit.score)));
  item.style.setProperty('--place', place);
  button.title = [hit.id, notes, `cosine ${hit.score.toFixed(3)}`].filter(Boolean).join('\n');
  button.addEventListener('click', () => searchHit(hit, image.parentElement));
  return item;
}

function skeleton(_, place) {
  const item = document.createElement('li');
  item.className = 'skeleton';
  item.ariaHidden = 'true';
  item.style.setProperty('--place', place);
  return item;
}

function showProblem({ status, message, id }) {
  $('problem-title').textContent = HEADINGS[status] ?? 'That did not work';
  $('problem-detail').replaceChildren(...prose(message));
  $('problem-id').textContent = id ? `Request ${id}` : '';
  // What was wrong with the request stays wrong; the rest may pass.
  $('again').hidden = status >= 400 && status < 500 && status !== 429;
  $('hits').replaceChildren();
  $('heading').textContent = 'No results';
  $('verdict').hidden = true;
  enter('error');
}

function showFacts({ index, model, took_ms }) {
  const facts = [];
  if (index) facts.push(`${index.count.toLocaleString('en')} ${index.count === 1 ? 'image' : 'images'}`);
  if (model) facts.push(`model ${model.name}`);
  if (took_ms) facts.push(`took ${took_ms.total.toFixed(took_ms.total < 10 ? 1 : 0)} ms`);
  $('facts').textContent = facts.join(' · ');
  $('facts').title = Object.entries(took_ms ?? {}).map(([phase, ms]) => `${phase} ${ms.toFixed(1)} ms`).join(', ');
}

function describe({ id, metadata }) {
  const { name, label, ...rest } = metadata ?? {};
  const caption = String(name ?? label ?? id);
  const notes = Object.entries(rest)
    .filter(([, value]) => value !== null && value !== '')
    .map(([key, value]) => typeof value === 'string' ? value : `${key} ${JSON.stringify(value)}`);
  return { caption, notes: [...new Set(notes)].join('\u00a0· ') };
}

// Sentences mark what to type with backticks.
function prose(text) {
  return text.split('`').map((part, place) => {
    if (place % 2 === 0) return part;
    const code = document.createElement('code');
    code.textContent = part;
    return code;
  });
}

function bytes(count) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${(count / 1000 ** power).toFixed(power && count / 1000 ** power < 10 ? 1 : 0)} ${['bytes', 'kB', 'MB', 'GB'][power]}`;
}

function speak(sentence) {
  $('spoken').textContent = sentence;
}

function toast(sentence) {
  const line = $('toast');
  line.textContent = sentence;
  line.getAnimations().forEach(animation => animation.cancel());
  line.animate([{ opacity: 0 }, { opacity: 1, offset: .04 }, { opacity: 1, offset: .92 }, { opacity: 0 }], 6000)
    .finished.then(() => { line.textContent = ''; }, () => {});
}


// ---- listening

for (const button of document.querySelectorAll('.pick')) button.addEventListener('click', () => $('file').click());

$('zone').addEventListener('click', event => { if (!event.target.closest('button')) $('file').click(); });

$('file').addEventListener('change', ({ target }) => {
  if (target.files.length) searchFile(target.files[0]);
  // Otherwise the same file, picked again, would be no change.
  target.value = '';
});

addEventListener('paste', ({ clipboardData }) => searchFile(clipboardData.files[0], 'Pasted picture'));

addEventListener('dragover', event => {
  event.preventDefault();
  document.body.dataset.drag = '';
});
addEventListener('dragleave', event => { if (!event.relatedTarget) delete document.body.dataset.drag; });
addEventListener('drop', event => {
  event.preventDefault();
  delete document.body.dataset.drag;
  searchFile(event.dataTransfer.files[0]);
});

$('amount').addEventListener('change', () => { if (current !== HOME) search(current); });
$('again').addEventListener('click', () => search(current));
$('home').addEventListener('click', event => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  if (current !== HOME) visit(HOME);
});

// Error events do not bubble.
document.addEventListener('error', ({ target }) => target.parentElement?.closest('.print')?.classList.add('blank'), true);

addEventListener('popstate', ({ state }) => show(visits.get(state) ?? HOME));

if (await waitUntilReady()) show(current);
await learnFacts();
