/** K5: whether `url` may be called: http or https to a `host` or `host:port` that the server's configuration names. */
export function hostAllowed(url: string, allowedHosts: readonly string[]): boolean {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") return false;
  const withPort = `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`;
  return allowedHosts.includes(hostname) || allowedHosts.includes(withPort);
}
