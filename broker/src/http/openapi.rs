//! The one list of routes, and the document generated from it.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{App, health, metrics, v1, well_known};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hoop/db-access",
        description = "Exchanges a CI job's OIDC token for a judged, recorded, revocable PostgreSQL endpoint.",
        version = "1",
        license(name = "MIT")
    ),
    tags(
        (name = "grants", description = "What one job gets: a scope, a lifetime, a credential."),
        (name = "operator", description = "For the operator of the broker."),
        (name = "service", description = "Discovery and health.")
    ),
    modifiers(&Tokens)
)]
struct Document;

/// The three bearer tokens of the API, each good for its own routes only.
struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = |what: &str| {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(what));
            SecurityScheme::Http(scheme.build())
        };
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("id-token", bearer("the job's OIDC token"));
        components.add_security_scheme("revoke-token", bearer("the revoke token of the grant"));
        components.add_security_scheme("operator-token", bearer("the operator's token"));
    }
}

/// Every route with its description.
pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(well_known::discover))
        .routes(routes!(v1::grants::create, v1::grants::revoke_by_key))
        .routes(routes!(v1::grants::id::show, v1::grants::id::revoke))
        .routes(routes!(v1::kill::kill))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// The document of every route, as `/openapi.json` serves it.
pub fn document() -> String {
    text(&routes().into_openapi())
}

fn text(api: &utoipa::openapi::OpenApi) -> String {
    // Serialising our own document cannot fail; an empty one would be seen by the snapshot test.
    api.to_pretty_json().unwrap_or_default()
}

/// Adds `/openapi.json`.
pub fn serve_document(router: Router<Arc<App>>, api: &utoipa::openapi::OpenApi) -> Router<Arc<App>> {
    let text: Arc<str> = text(api).into();
    let answer = move || async move { ([(CONTENT_TYPE, "application/json")], text.to_string()) };
    router.route("/openapi.json", axum::routing::get(answer))
}
