// Ask the page's server for JSON, or tell it something; what went wrong comes back as {error}.

export async function ask(path, told) {
  try {
    const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(told) };
    const answer = await fetch(`${path}${location.search}`, told === undefined ? {} : post);
    const text = await answer.text();
    return answer.ok ? JSON.parse(text) : { error: text.trim() };
  } catch (error) {
    return { error: `the page's server does not answer (${error.message})` };
  }
}
