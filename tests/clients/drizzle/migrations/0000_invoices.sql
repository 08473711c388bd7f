CREATE TYPE "app"."state" AS ENUM('open', 'paid');--> statement-breakpoint
CREATE TABLE "app"."invoices_of_drizzle" ("id" serial PRIMARY KEY NOT NULL, "order_id" integer NOT NULL, "state" "app"."state" DEFAULT 'open' NOT NULL);--> statement-breakpoint
ALTER TABLE "app"."invoices_of_drizzle" ADD CONSTRAINT "drizzle_order" FOREIGN KEY ("order_id") REFERENCES "app"."orders"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "drizzle_state" ON "app"."invoices_of_drizzle" USING btree ("state");
