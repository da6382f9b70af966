import swagger from "@fastify/swagger";
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, LogController } from "fastify";
import type { Caller, MoveService } from "../cutover/move-service.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import { httpError } from "./answers.ts";
import { type Authenticator, requireRole } from "./auth.ts";
import { metricsText } from "./metrics.ts";
import { moveRoutes } from "./move-routes.ts";
import { encode } from "./route.ts";
import { setupRoutes } from "./setup-routes.ts";

declare module "fastify" {
  interface FastifyRequest {
    caller: Caller;
  }
}

export type ApiOptions = {
  readonly service: MoveService;
  readonly authenticator: Authenticator;
  readonly logger: FastifyBaseLogger;
  readonly version: string;
};

/** A manifest of thousands of tables fits; nothing larger has a reason to come. */
const LARGEST_BODY_BYTES = 4 * 1024 * 1024;

/**
 * K4, K5: every command is one of these calls. Whoever calls is known before anything of the request is read; only JSON
 * is taken; there is no CORS, so that no page in a browser can talk to it.
 */
export async function buildApi({ service, authenticator, logger, version }: ApiOptions): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: LARGEST_BODY_BYTES,
    forceCloseConnections: true,
  });
  app.removeContentTypeParser("text/plain");
  // route() checks with zod what these would check again from the JSON schema.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => (data) => encode(data));
  app.decorateRequest("caller", null as unknown as Caller);
  app.addHook("onRequest", async (request) => {
    const operator = request.headers["x-dray-operator"];
    const name = Array.isArray(operator) ? operator[0] : operator;
    request.caller = authenticator.caller({ authorization: request.headers.authorization, operator: name });
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = fromFramework(error);
    if (!isDrayError(known)) request.log.error({ err: known, path: request.routeOptions.url }, "unexpected error");
    const { status, answer } = httpError(known);
    return reply
      .code(status)
      .type("application/json")
      .send(encode({ error: answer }));
  });
  app.setNotFoundHandler((request, reply) => {
    const wrong = new DrayError("REQUEST_INVALID", {
      wrong: [`there is no ${request.method} ${request.url.split("?")[0]}`],
    });
    return reply
      .code(404)
      .type("application/json")
      .send(encode({ error: httpError(wrong).answer }));
  });
  await app.register(swagger, {
    openapi: {
      openapi: "3.0.3",
      info: { title: "Drayage", version, description: "Every command of `dray` is one of these calls." },
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      security: [{ token: [] }],
    },
  });
  for (const each of [...setupRoutes(service, version), ...moveRoutes(service)]) each.register(app);
  const metrics = metricsText(service);
  app.get("/metrics", { schema: { hide: true } }, async (request, reply) => {
    requireRole(request.caller, "read");
    return reply.type(metrics.contentType).send(await metrics.read());
  });
  app.get("/openapi.json", { schema: { hide: true } }, async (_, reply) => {
    return reply.type("application/json").send(encode(app.swagger()));
  });
  return app;
}

/** Fastify's own refusals: a body that is too large, no JSON, or of another content type. */
function fromFramework(error: FastifyError): Error {
  const refused = error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500;
  return refused && !isDrayError(error) ? new DrayError("REQUEST_INVALID", { wrong: [error.message] }) : error;
}
