// A link ".../login#token" fills the form: what stands behind # is never sent to a server or written to a log.
const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, '', location.pathname);
  document.getElementById('token').value = decodeURIComponent(token);
  document.querySelector('form').submit();
}
