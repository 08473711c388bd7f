-- CreateTable
CREATE TABLE "app"."invoices" (
    "id" SERIAL NOT NULL,
    "order_id" INTEGER NOT NULL,
    "amount" DECIMAL(10,2) NOT NULL,

    CONSTRAINT "invoices_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "invoices_order_id_key" ON "app"."invoices"("order_id");

INSERT INTO "app"."invoices" ("order_id", "amount") SELECT "id", "amount" FROM "app"."orders";
