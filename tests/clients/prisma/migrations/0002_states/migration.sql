-- CreateEnum
CREATE TYPE "app"."State" AS ENUM ('open', 'paid');

-- AlterTable
ALTER TABLE "app"."invoices" ADD COLUMN "made" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
ADD COLUMN "state" "app"."State" NOT NULL DEFAULT 'open';
